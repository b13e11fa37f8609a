import { freePort } from '@mizzen/testing';
import { stringify } from 'yaml';
import { ensureBookinfo } from '../kubernetes/bookinfo-on-kubernetes.ts';
import { isReady, kubectl, mizzen, nodeAddress, pods, rolledOut, tryKubectl } from '../kubernetes/cluster.ts';
import { until } from '../until.ts';
import { adminCommand } from './containers.ts';
import type { Home, MeshProgram, OutsideProgram, ProgramKind, RunningMeshProgram, RunningOutside } from './home.ts';
import { startPeerProcess } from './peer-process.ts';

const FILES_FOLDER = '/etc/mizzen-test';

/** Pods of a real cluster: the mesh as `mizzen install` leaves it, and Bookinfo's own manifests in the namespace `default`. */
export async function startKubernetesHome(): Promise<Home> {
  const gatewayUrl = await ensureBookinfo();
  return {
    name: 'kubernetes',
    gatewayUrl,
    async apply(yaml) {
      await kubectl(['apply', '-f', '-'], yaml);
      await mizzen('wait', '--timeout', '60s');
    },
    async delete(yaml) {
      await kubectl(['delete', '--ignore-not-found', '-f', '-'], yaml);
      await mizzen('wait', '--timeout', '60s');
    },
    proxyConfig: async (section, workload) => mizzen('proxy-config', section, await podOf(workload), '-o', 'json'),
    sidecarLog: (workload) => kubectl(['-n', 'default', 'logs', `deployment/${workload}`, '-c', 'istio-proxy']),
    startProgram,
    startOutside,
    async tcpTarget({ service, port }) {
      return { host: service, port, async [Symbol.asyncDispose]() {} };
    },
    sidecarFilePath: (name) => `${FILES_FOLDER}/${name}`,
    // Bookinfo and the mesh stay for the suites that follow; the suite of the installation takes them away.
    async [Symbol.asyncDispose]() {},
  };
}

/** A pod that another suite's restart is just ending is connected for as long as it drains: the workload's name alone names two proxies. */
function podOf(workload: string): Promise<string> {
  return until(`a ready pod of ${workload}`, async () => {
    const pod = (await pods('default', '')).find((each) => each.metadata.name.startsWith(`${workload}-`) && isReady(each));
    return pod && `${pod.metadata.name}.default`;
  });
}

async function startProgram(program: MeshProgram): Promise<RunningMeshProgram> {
  const { service, version, namespace = 'default' } = program;
  const name = `${service}-${version}`;
  const hasService = (await tryKubectl(['-n', namespace, 'get', 'service', service])).code === 0;
  const hasAccount = (await tryKubectl(['-n', namespace, 'get', 'serviceaccount', accountOf(program)])).code === 0;
  const made = [
    ...(hasService ? [] : [serviceOf(program)]),
    ...(hasAccount ? [] : [{ ...head('v1', 'ServiceAccount', { name: accountOf(program), namespace }) }]),
    ...(program.sidecarFiles ? [{ ...head('v1', 'ConfigMap', { name: `${name}-files`, namespace }), data: program.sidecarFiles }] : []),
    deploymentOf(program),
  ]
    .map((object) => stringify(object))
    .join('---\n');
  const dispose = async (): Promise<void> => {
    await kubectl(['delete', '--ignore-not-found', '--wait=true', '--timeout=90s', '-f', '-'], made);
    // A pod that ends still answers for its service.
    await kubectl(['-n', namespace, 'wait', '--for=delete', 'pod', '-l', `app=${service},version=${version}`, '--timeout=90s']);
    await mizzen('wait', '--timeout', '60s');
  };
  try {
    await kubectl(['apply', '-f', '-'], made);
    await rolledOut(namespace, name);
    await mizzen('wait', '--timeout', '60s');
  } catch (thrown) {
    await dispose();
    throw thrown;
  }
  return {
    output: () => kubectl(['-n', namespace, 'logs', `deployment/${name}`, '-c', service]),
    sidecarLog: () => kubectl(['-n', namespace, 'logs', `deployment/${name}`, '-c', 'istio-proxy']),
    sidecarMetrics: () =>
      kubectl(['-n', namespace, 'exec', `deployment/${name}`, '-c', 'istio-proxy', '--', ...adminCommand('/stats/prometheus')]),
    [Symbol.asyncDispose]: dispose,
  };
}

function accountOf({ serviceAccount }: MeshProgram): string {
  return serviceAccount ?? 'default';
}

function head(apiVersion: string, kind: string, metadata: object) {
  return { apiVersion, kind, metadata };
}

function serviceOf({ service, namespace = 'default', port, protocol = 'HTTP' }: MeshProgram): object {
  return {
    ...head('v1', 'Service', { name: service, namespace, labels: { app: service, service } }),
    spec: { selector: { app: service }, ports: [{ port, name: protocol.toLowerCase() }] },
  };
}

/**
 * The mesh's own namespace enforces the pod security standard `restricted`, under which nothing is captured: a program there has no sidecar.
 */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

function deploymentOf(program: MeshProgram): object {
  const { runs, service, version, namespace = 'default', port, env = {}, sidecarFiles } = program;
  const labels = { app: service, version };
  const isSystem = namespace === 'istio-system';
  const files = sidecarFiles && {
    'sidecar.istio.io/userVolume': JSON.stringify([{ name: 'files', configMap: { name: `${service}-${version}-files` } }]),
    'sidecar.istio.io/userVolumeMount': JSON.stringify([{ name: 'files', mountPath: FILES_FOLDER, readOnly: true }]),
  };
  // The cluster of the tests knows no name of the internet; the mesh knows those of its ServiceEntries.
  const dns = { 'proxy.istio.io/config': 'proxyMetadata: { ISTIO_META_DNS_CAPTURE: "true" }' };
  const container = {
    name: service,
    ...containerOf(runs),
    imagePullPolicy: 'IfNotPresent',
    env: Object.entries({ ...env, PORT: String(port) }).map(([name, value]) => ({ name, value })),
    ports: [{ containerPort: port }],
    readinessProbe: { tcpSocket: { port }, periodSeconds: 1 },
    ...(isSystem && { securityContext: RESTRICTED }),
  };
  return {
    ...head('apps/v1', 'Deployment', { name: `${service}-${version}`, namespace, labels }),
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels: { ...labels, 'sidecar.istio.io/inject': String(!isSystem) }, annotations: { ...dns, ...files } },
        spec: { serviceAccountName: accountOf(program), terminationGracePeriodSeconds: 10, containers: [container] },
      },
    },
  };
}

function containerOf(runs: ProgramKind): object {
  if ('peer' in runs) return { image: 'mizzen/test-peers:dev', args: [runs.peer] };
  return { image: `mizzen/bookinfo-${runs.sample}-${runs.version}:dev` };
}

/** A process of this machine, which pods reach at the node's address. */
async function startOutside({ peer }: OutsideProgram): Promise<RunningOutside> {
  const port = await freePort();
  const running = startPeerProcess(peer, port);
  await until(`${peer} listens`, async () => (running.output().includes('"listening"') ? true : undefined));
  return { address: await nodeAddress(), port, output: async () => running.output(), [Symbol.asyncDispose]: running.end };
}
