import { type Container, type HttpGetAction, type LifecycleHandler, type Pod, PROXY_CONTAINER, type Probe, withContainer } from './pod.ts';

/** What the agent has to ask in the kubelet's place: ISTIO_KUBE_APP_PROBERS. */
type AppProbers = Record<string, Partial<Pick<Probe, 'httpGet' | 'tcpSocket' | 'grpc' | 'timeoutSeconds'>>>;

const PROBES = { readinessProbe: 'readyz', livenessProbe: 'livez', startupProbe: 'startupz' } as const;
const HOOKS = { preStop: 'prestopz', postStart: 'poststartz' } as const;

/**
 * Turns the probes and hooks of all other containers into requests to the agent's status port: the kubelet has no certificate and a captured
 * port would refuse it. What they were goes to the proxy as ISTIO_KUBE_APP_PROBERS; probes that run a command stay.
 * Source: istio pkg/kube/inject/app_probe.go (1.32 dev).
 */
export function rewriteAppProbes(pod: Pod, statusPort: number): Pod {
  const probers: AppProbers = {};
  const rewriteAll = (containers: readonly Container[] | undefined): readonly Container[] | undefined =>
    containers?.map((container) => (container.name === PROXY_CONTAINER ? container : rewriteContainer(container, statusPort, probers)));
  const containers = rewriteAll(pod.spec?.containers);
  const initContainers = rewriteAll(pod.spec?.initContainers);
  const rewritten: Pod = { ...pod, spec: { ...pod.spec, ...(containers && { containers }), ...(initContainers && { initContainers }) } };
  if (Object.keys(probers).length === 0) return rewritten;
  const variable = { name: 'ISTIO_KUBE_APP_PROBERS', value: JSON.stringify(probers) };
  return withContainer(rewritten, PROXY_CONTAINER, (proxy) => ({ ...proxy, env: [...(proxy.env ?? []), variable] }));
}

function rewriteContainer(container: Container, statusPort: number, probers: AppProbers): Container {
  const rewritten: Record<string, unknown> = { ...container };
  for (const [field, path] of Object.entries(PROBES)) {
    const probe = container[field] as Probe | undefined;
    const url = `/app-health/${container.name}/${path}`;
    const prober = probe && proberOf(probe, container, statusPort);
    if (!probe || !prober) continue;
    probers[url] = { ...prober, ...(probe.timeoutSeconds && { timeoutSeconds: probe.timeoutSeconds }) };
    rewritten[field] = redirected(probe, url, statusPort);
  }
  const { lifecycle } = container;
  if (!lifecycle) return rewritten as Container;
  const hooks: Record<string, unknown> = { ...lifecycle };
  for (const [field, path] of Object.entries(HOOKS)) {
    const hook = lifecycle[field as keyof typeof HOOKS];
    const url = `/app-lifecycle/${container.name}/${path}`;
    const prober = hook && proberOf(hook, container, statusPort);
    if (!hook || !prober) continue;
    probers[url] = prober;
    hooks[field] = redirected(hook, url, statusPort);
  }
  return { ...rewritten, lifecycle: hooks } as Container;
}

/** The probe with its port as a number; undefined for one that runs a command, is rewritten already, or names a port that is not there. */
function proberOf(probe: Probe, container: Container, statusPort: number): AppProbers[string] | undefined {
  const { httpGet, tcpSocket, grpc } = probe;
  if (grpc && !httpGet && !tcpSocket) return { grpc };
  const action = httpGet ?? tcpSocket;
  const port = action && portNumberOf(action.port, container);
  if (port === undefined || port === statusPort) return undefined;
  return httpGet ? { httpGet: { ...httpGet, port } } : { tcpSocket: { ...tcpSocket, port } };
}

function portNumberOf(port: number | string, { ports = [] }: Container): number | undefined {
  if (typeof port === 'number') return port;
  if (/^\d+$/.test(port)) return Number(port);
  return ports.find(({ name }) => name === port)?.containerPort;
}

function redirected(handler: LifecycleHandler, path: string, port: number): unknown {
  const { tcpSocket: _tcp, grpc: _grpc, httpGet, ...thresholds } = handler as Probe;
  const { scheme: _scheme, ...given } = (httpGet ?? {}) as Partial<HttpGetAction>;
  return { ...thresholds, httpGet: { ...given, path, port } };
}
