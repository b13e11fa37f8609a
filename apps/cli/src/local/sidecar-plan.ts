import type { Home } from '../home.ts';
import type { TokenIssuer } from './join-tokens.ts';
import type { Launcher } from './launcher.ts';
import type { ProcessDefinition } from './managed-process.ts';
import type { MeshAddresses } from './state.ts';

/** What a proxy has to know of the mesh to join it. */
export interface MeshAccess {
  readonly home: Home;
  readonly addresses: Pick<MeshAddresses, 'xdsMtls' | 'ca' | 'otlp'>;
  readonly trustDomain: string;
  readonly tokens: TokenIssuer;
  readonly launch: Launcher;
}

export interface SidecarPlan {
  readonly workloadGroup: string;
  readonly instance: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The service's port, and where the program listens: `unix:/path` or `127.0.0.1:5000`. */
  readonly inbound: { readonly port: number; readonly program: string };
  /** Chosen beforehand, because the program has to be told it when it starts. */
  readonly httpProxyPort: number;
}

export const STOP_DEADLINE_MS = 15_000;

export function sidecarName(instance: string): string {
  return `${instance}-sidecar`;
}

/** The sidecar of one workload; each start gets a join token of its own. */
export function planSidecar(mesh: MeshAccess, plan: SidecarPlan): ProcessDefinition {
  const { instance, namespace, serviceAccount } = plan;
  return {
    name: sidecarName(instance),
    title: `sidecar of ${instance}`,
    stopDeadlineMs: STOP_DEADLINE_MS,
    launch: async () => {
      const tokenFile = await mesh.tokens.issue({ name: instance, namespace, serviceAccount });
      return mesh.launch('sidecar', [...meshFlags(mesh, tokenFile), ...workloadFlags(plan)]);
    },
  };
}

/** How a proxy finds the mesh and proves itself. */
export function meshFlags({ addresses, home, trustDomain }: MeshAccess, tokenFile: string): string[] {
  const found = ['--xds-address', addresses.xdsMtls, '--ca-address', addresses.ca, '--telemetry-address', addresses.otlp];
  return [...found, '--ca-root', home.rootCert, '--join-token-file', tokenFile, '--trust-domain', trustDomain];
}

function workloadFlags(plan: SidecarPlan): string[] {
  const labels = Object.entries(plan.labels).flatMap(([key, value]) => ['--labels', `${key}=${value}`]);
  const names = ['--workload-group', plan.workloadGroup, '--instance', plan.instance];
  const identity = ['--namespace', plan.namespace, '--service-account', plan.serviceAccount];
  const ports = ['--inbound', `${plan.inbound.port}=${plan.inbound.program}`, '--http-proxy-port', String(plan.httpProxyPort)];
  return [...names, ...identity, ...labels, ...ports];
}
