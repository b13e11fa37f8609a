import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { until } from '../until.ts';
import type { ComposeStack } from './compose-home.ts';
import { adminCommand, docker } from './containers.ts';
import type { MeshProgram, PeerName, ProgramKind, RunningMeshProgram } from './home.ts';

/** Where a program's sidecar finds what it was given. */
export const SIDECAR_FILES = '/mizzen/files';

/** Marks the containers that are none of the stack's own services, with its name. */
export const BESIDE_LABEL = 'io.mizzen.e2e';

const JOIN_DEADLINE_MS = 60_000;

/**
 * A workload beside those of compose.yaml, made of the same three containers: one that holds the network namespace and writes the rules,
 * the sidecar, the program.
 */
export async function startComposeProgram(stack: ComposeStack, program: MeshProgram): Promise<RunningMeshProgram> {
  const started: StartedTestContainer[] = [];
  const registration = await register(stack, program);
  const stop = async (): Promise<void> => {
    for (const container of started.splice(0).reverse()) await container.stop({ timeout: 10_000 });
    if (registration !== '') await stack.delete(registration);
  };
  try {
    const pod = await startPod(stack, program);
    started.push(pod);
    const sidecar = await startSidecar(stack, pod, program);
    started.push(sidecar);
    const app = await startApp(stack, pod, program);
    started.push(app);
    await until(
      `${nameOf(program)} is in the mesh`,
      async () => {
        const { exitCode, output } = await sidecar.exec(['node', '/app/health.mjs']);
        if (exitCode !== 0) throw new Error(`${output}${docker('logs', '--tail', '20', sidecar.getId())}`);
        return true;
      },
      JOIN_DEADLINE_MS,
    );
    return {
      output: async () => docker('logs', app.getId()),
      sidecarLog: async () => docker('logs', sidecar.getId()),
      sidecarMetrics: async () => (await sidecar.exec(adminCommand('/stats/prometheus'))).stdout,
      [Symbol.asyncDispose]: stop,
    };
  } catch (thrown) {
    await stop();
    throw thrown;
  }
}

/** A peer on the mesh's network that is no workload of it. */
export function startPeerContainer(stack: ComposeStack, peer: PeerName, port: number): Promise<StartedTestContainer> {
  return containerBeside(stack, 'mizzen/test-peers:dev')
    .withNetworkMode(stack.network)
    .withCommand([peer])
    .withEnvironment({ PORT: String(port) })
    .start();
}

function containerBeside({ project }: ComposeStack, image: string): GenericContainer {
  return new GenericContainer(image).withLabels({ [BESIDE_LABEL]: project });
}

function startPod(stack: ComposeStack, program: MeshProgram): Promise<StartedTestContainer> {
  return containerBeside(stack, 'mizzen/sidecar:dev')
    .withNetworkMode(stack.network)
    .withUser('0:0')
    .withDroppedCapabilities('ALL')
    .withAddedCapabilities('NET_ADMIN', 'NET_RAW')
    .withEntrypoint(['sh', '-c'])
    .withCommand(['node /app/main.mjs iptables --redirect-dns && touch /tmp/captured && exec sleep infinity'])
    .withHostname(nameOf(program))
    .withHealthCheck({ test: ['CMD', 'test', '-e', '/tmp/captured'], interval: 500, timeout: 3000, retries: 60, startPeriod: 30_000 })
    .start();
}

async function startSidecar(stack: ComposeStack, pod: StartedTestContainer, program: MeshProgram): Promise<StartedTestContainer> {
  const { namespace = 'default', serviceAccount = 'default', service, version, port, protocol = 'HTTP' } = program;
  const minted = ['token', 'create', '--namespace', namespace, '--service-account', serviceAccount];
  const token = await stack.container('join-tokens').exec(['mizzen', ...minted]);
  if (token.exitCode !== 0) throw new Error(`no join token for ${nameOf(program)}: ${token.output}`);
  const root = await stack.container('join-tokens').exec(['cat', '/mizzen/trust/root-cert.pem']);
  const files = { token: token.stdout.trim(), 'root-cert.pem': root.stdout, ...program.sidecarFiles };
  return (
    new GenericContainer('mizzen/sidecar:dev')
      .withNetworkMode(`container:${pod.getId()}`)
      .withDroppedCapabilities('ALL')
      .withCopyContentToContainer(
        Object.entries(files).map(([name, content]) => ({ content, target: `${SIDECAR_FILES}/${name}`, mode: 0o644 })),
      )
      .withEnvironment({
        MIZZEN_XDS_ADDRESS: 'control-plane:15012',
        MIZZEN_CA_ADDRESS: 'ca:15013',
        MIZZEN_CA_ROOT: `${SIDECAR_FILES}/root-cert.pem`,
        MIZZEN_JOIN_TOKEN_FILE: `${SIDECAR_FILES}/token`,
        MIZZEN_TELEMETRY_ADDRESS: 'telemetry:4317',
        MIZZEN_ADDRESS: 'auto',
        MIZZEN_CLUSTER_ID: 'compose',
        MIZZEN_INTERCEPTION_MODE: 'REDIRECT',
        MIZZEN_DNS_CAPTURE: 'true',
        MIZZEN_NAMESPACE: namespace,
        MIZZEN_SERVICE_ACCOUNT: serviceAccount,
        MIZZEN_WORKLOAD_GROUP: nameOf(program),
        MIZZEN_INSTANCE: nameOf(program),
        MIZZEN_LABELS: `app=${service},version=${version}`,
        MIZZEN_POD_PORTS: JSON.stringify([{ name: protocol.toLowerCase(), containerPort: port, protocol: 'TCP' }]),
      })
      // Healthy it is only once the program listens, which starts after it.
      .withWaitStrategy(Wait.forLogMessage(/SVID received/))
      .start()
  );
}

function startApp(stack: ComposeStack, pod: StartedTestContainer, { runs, port, env }: MeshProgram): Promise<StartedTestContainer> {
  const container = containerBeside(stack, imageOf(runs))
    .withNetworkMode(`container:${pod.getId()}`)
    .withEnvironment({ PORT: String(port), ...env })
    .withWaitStrategy(Wait.forListeningPorts());
  return ('peer' in runs ? container.withCommand([runs.peer]) : container).start();
}

function imageOf(runs: ProgramKind): string {
  return 'peer' in runs ? 'mizzen/test-peers:dev' : `mizzen/bookinfo-${runs.sample}-${runs.version}:dev`;
}

function nameOf({ service, version }: MeshProgram): string {
  return `${service}-${version}`;
}

/** Makes the service and the WorkloadGroup where the configuration has none, as `mizzen run` does; returns what was made. */
async function register(stack: ComposeStack, program: MeshProgram): Promise<string> {
  const { service, version, namespace = 'default', port, protocol = 'HTTP', serviceAccount = 'default' } = program;
  const existing = await stack.mizzen('get', 'workloadgroup', '--namespace', namespace, '--output', 'json');
  if (existing.includes(`"${nameOf(program)}"`)) return '';
  const yaml = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${service}, namespace: ${namespace} }
spec:
  hosts: [${service}.${namespace}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: ${port}, name: ${protocol.toLowerCase()}, protocol: ${protocol} }]
  workloadSelector: { labels: { app: ${service} } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: ${nameOf(program)}, namespace: ${namespace} }
spec:
  metadata: { labels: { app: ${service}, version: ${version} } }
  template: { serviceAccount: ${serviceAccount}, ports: { ${protocol.toLowerCase()}: ${port} } }
`;
  await stack.apply(yaml);
  return yaml;
}
