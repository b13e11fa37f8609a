import type { KubeObject, V1Ingress, V1IngressBackend } from '@mizzen/kube';
import { creationOf } from './metadata.ts';

/** What is kept of an Ingress. */
export interface KeptIngress {
  readonly name: string;
  readonly namespace: string;
  readonly createdAt: string;
  readonly generation: number;
  /** The annotation that was there before IngressClass. */
  readonly classAnnotation: string | undefined;
  readonly className: string | undefined;
  readonly tls: readonly { readonly hosts: readonly string[]; readonly secretName: string }[];
  readonly rules: readonly KeptIngressRule[];
  readonly defaultBackend: IngressBackend | undefined;
}

export interface KeptIngressRule {
  /** '' means every host. */
  readonly host: string;
  readonly paths: readonly { readonly path: string; readonly pathType: string; readonly backend: IngressBackend }[];
}

/** A Service and its port; undefined where the backend is something else. */
export interface IngressBackend {
  readonly service: string | undefined;
  readonly port: number | string;
}

const CLASS_ANNOTATION = 'kubernetes.io/ingress.class';

export function keepIngress(object: KubeObject): KeptIngress {
  const { name, namespace = 'default', generation = 1, annotations } = object.metadata;
  const { spec = {} } = object as Pick<V1Ingress, 'spec'>;
  return {
    name,
    namespace,
    createdAt: creationOf(object.metadata),
    generation,
    classAnnotation: annotations?.[CLASS_ANNOTATION],
    className: spec.ingressClassName,
    tls: (spec.tls ?? []).map(({ hosts = [], secretName = '' }) => ({ hosts, secretName })),
    rules: (spec.rules ?? []).map(({ host = '', http }) => ({
      host,
      paths: (http?.paths ?? []).map(({ path = '', pathType = 'ImplementationSpecific', backend }) => ({
        path,
        pathType,
        backend: keepBackend(backend),
      })),
    })),
    defaultBackend: spec.defaultBackend && keepBackend(spec.defaultBackend),
  };
}

function keepBackend(backend: V1IngressBackend | undefined): IngressBackend {
  return { service: backend?.service?.name, port: backend?.service?.port?.number ?? backend?.service?.port?.name ?? 0 };
}

/** Who looks after an IngressClass: its controller. All that is kept of it. */
export function keepIngressController(object: KubeObject): string {
  return (object as { readonly spec?: { readonly controller?: string } }).spec?.controller ?? '';
}
