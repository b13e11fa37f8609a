/** The parts of Kubernetes' Pod (core/v1) that injection reads or writes; every other field passes through untouched. */
export interface Pod {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: PodMetadata;
  readonly spec?: PodSpec;
  readonly [field: string]: unknown;
}

export interface PodMetadata {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly [field: string]: unknown;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly controller?: boolean;
  readonly [field: string]: unknown;
}

export interface PodSpec {
  readonly containers?: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly hostNetwork?: boolean;
  readonly serviceAccountName?: string;
  readonly imagePullSecrets?: readonly { readonly name: string }[];
  readonly [field: string]: unknown;
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly imagePullPolicy?: string;
  readonly args?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly ports?: readonly ContainerPort[];
  readonly volumeMounts?: readonly VolumeMount[];
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly startupProbe?: Probe;
  readonly lifecycle?: { readonly postStart?: LifecycleHandler; readonly preStop?: LifecycleHandler };
  readonly restartPolicy?: string;
  readonly [field: string]: unknown;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: unknown;
}

export interface ContainerPort {
  readonly name?: string;
  readonly containerPort: number;
  readonly protocol?: string;
  readonly [field: string]: unknown;
}

export interface Volume {
  readonly name: string;
  readonly [source: string]: unknown;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly [field: string]: unknown;
}

export interface HttpGetAction {
  readonly path?: string;
  readonly port: number | string;
  readonly scheme?: string;
  readonly [field: string]: unknown;
}

/** What a probe or a hook does; a probe has its thresholds beside. */
export interface LifecycleHandler {
  readonly httpGet?: HttpGetAction;
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly [field: string]: unknown;
}

export interface Probe extends LifecycleHandler {
  readonly grpc?: { readonly port: number; readonly service?: string };
  readonly timeoutSeconds?: number;
}

/** Names that everything which reads an injected pod relies on; they are Istio's. */
export const PROXY_CONTAINER = 'istio-proxy';
export const INIT_CONTAINER = 'istio-init';

/** Those of the pod's own making, in their order. */
export function appContainersOf(pod: Pod): readonly Container[] {
  return (pod.spec?.containers ?? []).filter(({ name }) => name !== PROXY_CONTAINER);
}

/** The pod with one container, wherever it stands, changed. */
export function withContainer(pod: Pod, name: string, change: (container: Container) => Container): Pod {
  const changeIn = (containers: readonly Container[] | undefined): readonly Container[] | undefined =>
    containers?.map((container) => (container.name === name ? change(container) : container));
  const containers = changeIn(pod.spec?.containers);
  const initContainers = changeIn(pod.spec?.initContainers);
  return { ...pod, spec: { ...pod.spec, ...(containers && { containers }), ...(initContainers && { initContainers }) } };
}

export function annotationOf(pod: Pod, name: string): string | undefined {
  return pod.metadata?.annotations?.[name];
}

export function labelOf(pod: Pod, name: string): string | undefined {
  return pod.metadata?.labels?.[name];
}
