import { join } from 'node:path';
import type { Home } from '../home.ts';
import type { WorkloadDefinition } from './bookinfo.ts';
import { proxyEnvironment } from './environment.ts';
import type { ProcessDefinition } from './managed-process.ts';
import type { MeshPorts } from './mesh-ports.ts';
import { type MeshAccess, meshFlags, planSidecar, STOP_DEADLINE_MS } from './sidecar-plan.ts';
import type { Stage } from './supervisor.ts';
import { untilAccepts } from './until-accepts.ts';

export interface MeshPlan extends MeshAccess {
  readonly ports: MeshPorts;
  readonly workloads: readonly WorkloadDefinition[];
  /** One for each workload, by its name: the port where its sidecar takes the program's outgoing HTTP. */
  readonly httpProxyPorts: ReadonlyMap<string, number>;
}

const SYSTEM_NAMESPACE = 'istio-system';
/** A workload that is gone without a word is given this long to come back; a local process that was restarted needs no more. */
const DISCONNECT_GRACE = '1s';

/** The processes of the local mesh in the order of their start: who signs, who collects and who counts, who configures, then everything with a proxy. */
export function planStages(plan: MeshPlan): Stage[] {
  const workloads = plan.workloads.flatMap((workload) => [planProgram(plan, workload), planSidecarOf(plan, workload)]);
  return [[planCa(plan), planTelemetry(plan), planRateLimit(plan)], [planControlPlane(plan)], [planGateway(plan), ...workloads]];
}

/** The order of the end: the gateway lets no more in, sidecars drain, their programs go, then what all of them rested on. */
export function stopRank(name: string): number {
  if (name === 'ingress-gateway') return 0;
  if (name.endsWith('-sidecar')) return 1;
  if (name === 'telemetry' || name === 'rate-limit' || name === 'control-plane') return 3;
  return name === 'ca' ? 4 : 2;
}

function planCa({ home, ports, trustDomain, launch }: MeshPlan): ProcessDefinition {
  const flags = ['--home', home.root, '--ca-port', ports.ca, '--http-port', ports.caHttp, '--trust-domain', trustDomain];
  return { name: 'ca', title: 'CA', stopDeadlineMs: STOP_DEADLINE_MS, launch: async () => launch('ca', flags) };
}

function planTelemetry({ ports, launch }: MeshPlan): ProcessDefinition {
  const flags = ['--api-port', ports.telemetry, '--otlp-grpc-port', ports.otlpGrpc, '--otlp-http-port', ports.otlpHttp];
  return {
    name: 'telemetry',
    title: 'telemetry collector',
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => launch('telemetry', flags),
  };
}

/** Always there: a limit of the whole mesh may be applied at any time. */
function planRateLimit({ ports, launch }: MeshPlan): ProcessDefinition {
  const flags = ['--rate-limit-port', ports.rateLimit, '--rate-limit-http-port', ports.rateLimitHttp];
  return {
    name: 'rate-limit',
    title: 'rate limit service',
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => launch('rate-limit', flags),
  };
}

function planControlPlane({ home, ports, addresses, trustDomain, tokens, launch }: MeshPlan): ProcessDefinition {
  const files = ['--config', home.config, '--mesh-config', home.meshConfig, '--credentials', home.credentials];
  const listen = ['--xds-port', ports.xds, '--xds-mtls-port', ports.xdsMtls, '--debug-port', ports.debug];
  const others = [
    '--rate-limit-address',
    `127.0.0.1:${ports.rateLimit}`,
    '--ca-address',
    addresses.ca,
    '--ca-root',
    home.rootCert,
    '--trust-domain',
    trustDomain,
    '--disconnect-grace',
    DISCONNECT_GRACE,
  ];
  let isFirstStart = true;
  return {
    name: 'control-plane',
    title: 'control plane',
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => {
      // Before the first start nobody can have registered, so there is nobody to wait for.
      const settle = isFirstStart ? ['--registration-settle', '0s'] : [];
      isFirstStart = false;
      const token = await tokens.issue({ name: 'control-plane', namespace: SYSTEM_NAMESPACE, serviceAccount: 'istiod' });
      return launch('control-plane', [...files, ...listen, ...others, ...settle, '--join-token-file', token]);
    },
  };
}

function planGateway(plan: MeshPlan): ProcessDefinition {
  const { ports, tokens, launch } = plan;
  const maps = [`8080=${ports.gateway}`, `80=${ports.gateway}`, `8443=${ports.gatewayHttps}`, `443=${ports.gatewayHttps}`];
  return {
    name: 'ingress-gateway',
    title: 'ingress gateway',
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => {
      const token = await tokens.issue({ name: 'ingress-gateway', namespace: SYSTEM_NAMESPACE, serviceAccount: 'istio-ingressgateway' });
      return launch('ingress-gateway', [
        ...meshFlags(plan, token),
        '--instance',
        'istio-ingressgateway',
        ...maps.flatMap((map) => ['--map-port', map]),
      ]);
    },
  };
}

function planSidecarOf(plan: MeshPlan, workload: WorkloadDefinition): ProcessDefinition {
  const { name, namespace, serviceAccount, labels, port } = workload;
  return planSidecar(plan, {
    workloadGroup: name,
    instance: name,
    namespace,
    serviceAccount,
    labels,
    inbound: { port, program: `unix:${programSocket(plan.home, name)}` },
    httpProxyPort: plan.httpProxyPorts.get(name) ?? 0,
  });
}

function planProgram({ home, launch, httpProxyPorts }: MeshPlan, workload: WorkloadDefinition): ProcessDefinition {
  const socket = programSocket(home, workload.name);
  const env = { ...workload.env, PORT: socket, ...proxyEnvironment(httpProxyPorts.get(workload.name) ?? 0) };
  return {
    name: workload.name,
    title: workload.name,
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => launch(workload.app, [], env),
    untilReady: (signal) => untilAccepts({ path: socket }, signal),
  };
}

function programSocket(home: Home, workload: string): string {
  return join(home.sockets, `${workload}.sock`);
}
