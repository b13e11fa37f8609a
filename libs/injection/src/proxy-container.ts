import { ANNOTATION } from './annotations.ts';
import { annotationOr, capturesDns, type InjectionContext, imageOf, interceptionModeOf, statusPortOf } from './injection-context.ts';
import { annotationOf, appContainersOf, type Container, type EnvVar, PROXY_CONTAINER, type VolumeMount } from './pod.ts';
import { MOUNT } from './volumes.ts';
import { ownerUrlOf } from './workload.ts';

/** Istio's UID and GID of the proxy: the iptables rules let their traffic pass. */
export const PROXY_ID = 1337;
export const READINESS_PORT = 15_021;
export const METRICS_PORT = 15_090;
const READINESS = { path: '/healthz/ready', port: READINESS_PORT };
const PROBE_TIMEOUT_SECONDS = 3;

/** What the containers of sidecar and gateway have in common: identity, addresses, probes and nothing that a restricted pod may not have. */
export function proxyContainer(context: InjectionContext, app: 'sidecar' | 'ingress-gateway'): Container {
  const { values } = context;
  return {
    name: PROXY_CONTAINER,
    image: imageOf(context, app),
    ...(values.imagePullPolicy !== '' && { imagePullPolicy: values.imagePullPolicy }),
    ports: [{ name: 'http-envoy-prom', containerPort: METRICS_PORT, protocol: 'TCP' }],
    env: proxyEnvironment(context),
    resources: resourcesOf(context),
    ...probesOf(context),
    securityContext: RESTRICTED,
    volumeMounts: [...MOUNT, ...userVolumeMounts(context)],
  };
}

/** Fits the Pod Security Standard `restricted`. */
export const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsGroup: PROXY_ID,
  runAsNonRoot: true,
  runAsUser: PROXY_ID,
  seccompProfile: { type: 'RuntimeDefault' },
};

function proxyEnvironment(context: InjectionContext): EnvVar[] {
  const { values, settings, meshConfig, workload } = context;
  const given: Readonly<Record<string, string>> = {
    MIZZEN_WORKLOAD_NAME: workload.name,
    MIZZEN_OWNER: ownerUrlOf(workload),
    MIZZEN_CLUSTER_ID: values.clusterId,
    MIZZEN_LABELS_FILE: '/etc/istio/pod/labels',
    MIZZEN_XDS_ADDRESS: annotationOr(context, ANNOTATION.discoveryAddress, settings.discoveryAddress),
    MIZZEN_CA_ADDRESS: values.caAddress,
    MIZZEN_CA_ROOT: '/var/run/secrets/istio/root-cert.pem',
    MIZZEN_JOIN_TOKEN_FILE: '/var/run/secrets/tokens/istio-token',
    MIZZEN_TRUST_DOMAIN: meshConfig.trustDomain,
    ...(values.telemetryAddress !== '' && { MIZZEN_TELEMETRY_ADDRESS: values.telemetryAddress }),
    MIZZEN_ADMIN_PORT: String(settings.proxyAdminPort),
    MIZZEN_STATUS_PORT: String(statusPortOf(context)),
    MIZZEN_READINESS_PORT: String(READINESS_PORT),
    MIZZEN_METRICS_PORT: String(METRICS_PORT),
    MIZZEN_TERMINATION_DRAIN_DURATION: settings.terminationDrainDuration,
    MIZZEN_LOG_LEVEL: logLevelOf(context),
    // The root file system is read-only.
    TMPDIR: '/var/lib/istio/data',
    ...settings.proxyMetadata,
  };
  return [
    fromField('MIZZEN_INSTANCE', 'metadata.name'),
    fromField('MIZZEN_NAMESPACE', 'metadata.namespace'),
    fromField('MIZZEN_SERVICE_ACCOUNT', 'spec.serviceAccountName'),
    fromField('MIZZEN_ADDRESS', 'status.podIP'),
    fromField('MIZZEN_NODE_NAME', 'spec.nodeName'),
    ...Object.entries(given).map(([name, value]) => ({ name, value })),
  ];
}

/** What only a sidecar is told: how traffic comes to it, and what stands behind it. */
export function captureEnvironment(context: InjectionContext): EnvVar[] {
  const ports = appContainersOf(context.pod).flatMap(({ ports = [] }) =>
    ports.map(({ name, containerPort, protocol }) => ({ ...(name && { name }), containerPort, ...(protocol && { protocol }) })),
  );
  return [
    { name: 'MIZZEN_INTERCEPTION_MODE', value: interceptionModeOf(context) },
    { name: 'MIZZEN_POD_PORTS', value: JSON.stringify(ports) },
    ...(capturesDns(context) ? [{ name: 'MIZZEN_DNS_CAPTURE', value: 'true' }] : []),
    // The kubelet ends a native sidecar after the programs: a Job must not wait for a proxy that waits for nobody.
    ...(context.isNative ? [{ name: 'MIZZEN_OUTLIVES_PROGRAM', value: 'true' }] : []),
  ];
}

function fromField(name: string, fieldPath: string): EnvVar {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

// Istio and Envoy have names that the mesh's own logger lacks.
const LOG_LEVELS: Readonly<Record<string, string>> = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  warn: 'warn',
  error: 'error',
  critical: 'fatal',
  off: 'silent',
};

function logLevelOf(context: InjectionContext): string {
  const { logLevel } = context.values.proxy;
  const said = annotationOf(context.pod, ANNOTATION.logLevel) ?? annotationOf(context.pod, ANNOTATION.agentLogLevel) ?? logLevel;
  // Istio's agent log level may be a list by scope: default:info,dns:debug.
  const level = /^(?:(?:.*,)?default:)?(\w+)/.exec(said)?.[1] ?? said;
  return LOG_LEVELS[level] ?? logLevel;
}

function resourcesOf({ pod, values }: InjectionContext): unknown {
  const said = (cpu: string, memory: string): Record<string, string> => ({
    ...(annotationOf(pod, cpu) !== undefined && { cpu: annotationOf(pod, cpu) as string }),
    ...(annotationOf(pod, memory) !== undefined && { memory: annotationOf(pod, memory) as string }),
  });
  const requests = said(ANNOTATION.proxyCpu, ANNOTATION.proxyMemory);
  const limits = said(ANNOTATION.proxyCpuLimit, ANNOTATION.proxyMemoryLimit);
  // One annotation replaces all defaults, as in Istio.
  if (Object.keys(requests).length + Object.keys(limits).length === 0) return values.proxy.resources;
  return { ...(Object.keys(requests).length > 0 && { requests }), ...(Object.keys(limits).length > 0 && { limits }) };
}

function probesOf(context: InjectionContext): Pick<Container, 'readinessProbe' | 'startupProbe'> {
  if (statusPortOf(context) === 0) return {};
  const { proxy } = context.values;
  const number = (name: string, fallback: number): number => Number(annotationOr(context, name, String(fallback)));
  return {
    startupProbe: {
      httpGet: READINESS,
      failureThreshold: proxy.startupFailureThreshold,
      periodSeconds: 1,
      timeoutSeconds: PROBE_TIMEOUT_SECONDS,
    } as Container['startupProbe'] & object,
    readinessProbe: {
      httpGet: READINESS,
      failureThreshold: number(ANNOTATION.readinessFailureThreshold, proxy.readinessFailureThreshold),
      initialDelaySeconds: number(ANNOTATION.readinessInitialDelaySeconds, proxy.readinessInitialDelaySeconds),
      periodSeconds: number(ANNOTATION.readinessPeriodSeconds, proxy.readinessPeriodSeconds),
      timeoutSeconds: PROBE_TIMEOUT_SECONDS,
    } as Container['readinessProbe'] & object,
  };
}

// Written by name, {"data":{"mountPath":"/data"}}, or as a pod has them, [{"name":"data","mountPath":"/data"}].
function userVolumeMounts({ pod }: InjectionContext): VolumeMount[] {
  const text = annotationOf(pod, ANNOTATION.userVolumeMount);
  if (text === undefined) return [];
  const parsed = JSON.parse(text) as readonly VolumeMount[] | Readonly<Record<string, Omit<VolumeMount, 'name'>>>;
  return Array.isArray(parsed) ? parsed : Object.entries(parsed).map(([name, mount]) => ({ name, ...mount }) as VolumeMount);
}
