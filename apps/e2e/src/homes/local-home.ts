import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '@mizzen/testing';
import { LocalMesh } from '../local-mesh.ts';
import { until } from '../until.ts';
import { workspace } from '../workspace.ts';
import type { Home, MeshProgram, OutsideProgram, ProgramKind, RunningMeshProgram, RunningOutside, TcpAddress, TcpTarget } from './home.ts';
import { startPeerProcess } from './peer-process.ts';

/** Plain processes of this machine, as `npm start` runs them. */
export async function startLocalHome(): Promise<Home> {
  const mesh = await LocalMesh.start();
  return {
    name: 'local',
    gatewayUrl: mesh.gatewayUrl,
    apply: (yaml) => mesh.apply(yaml),
    delete: (yaml) => mesh.delete(yaml),
    proxyConfig: (section, workload) => mesh.mizzen('proxy-config', section, workload, '-o', 'json'),
    sidecarLog: async (workload) => mesh.log(`${workload}-sidecar`),
    startProgram: (program) => startProgram(mesh, program),
    startOutside,
    tcpTarget: (target) => openEgressListener(mesh, target),
    sidecarFilePath: (name) => path.join(mesh.home, name),
    [Symbol.asyncDispose]: () => mesh[Symbol.asyncDispose](),
  };
}

async function startProgram(mesh: LocalMesh, program: MeshProgram): Promise<RunningMeshProgram> {
  for (const [name, text] of Object.entries(program.sidecarFiles ?? {})) writeFileSync(path.join(mesh.home, name), text);
  const { runs, service, version, namespace = 'default', port, protocol = 'HTTP', serviceAccount } = program;
  const place = ['--service', service, '--version', version, '--namespace', namespace, '--port', String(port), '--protocol', protocol];
  const account = serviceAccount === undefined ? [] : ['--service-account', serviceAccount];
  const child = await mesh.run([...place, ...account, '--', ...commandOf(runs)], environmentOf(program));
  return {
    output: async () => mesh.outputOf(child),
    sidecarLog: async () => readFileSync(/\(sidecar's log: (.+)\)/.exec(mesh.outputOf(child))?.[1] ?? '', 'utf8'),
    sidecarMetrics: () => metricsOf(mesh, `${service}-${version}`),
    [Symbol.asyncDispose]: () => mesh.end(child),
  };
}

/** The control plane knows where each proxy's admin port is. */
async function metricsOf(mesh: LocalMesh, workload: string): Promise<string> {
  const proxies = (await (await fetch(`${mesh.url('debug')}/debug/syncz`)).json()) as readonly { proxy: string; admin_address?: string }[];
  const { admin_address: address } = proxies.find(({ proxy }) => proxy.split('~')[2]?.startsWith(workload)) ?? {};
  if (address === undefined) throw new Error(`no proxy of ${workload} among ${proxies.map(({ proxy }) => proxy).join(', ')}`);
  return await (await fetch(`http://${address}/stats/prometheus`)).text();
}

function commandOf(runs: ProgramKind): readonly string[] {
  const file = 'peer' in runs ? 'apps/e2e/src/peers/main.ts' : `apps/bookinfo/${runs.sample}/src/main.ts`;
  return [process.execPath, path.join(workspace, file), ...('peer' in runs ? [runs.peer] : [])];
}

/** The images have their version in them; here it is said when the program starts. */
function environmentOf({ runs, env }: MeshProgram): NodeJS.ProcessEnv {
  if ('peer' in runs) return { ...env };
  const isExternal = runs.sample === 'details' && runs.version === 'v2';
  return { SERVICE_VERSION: runs.version, ...(isExternal && { ENABLE_EXTERNAL_BOOK_SERVICE: 'true' }), ...env };
}

async function startOutside({ peer }: OutsideProgram): Promise<RunningOutside> {
  const port = await freePort();
  const running = startPeerProcess(peer, port);
  await until(`${peer} listens`, async () => (running.output().includes('"listening"') ? true : undefined));
  return { address: '127.0.0.1', port, output: async () => running.output(), [Symbol.asyncDispose]: running.end };
}

/** Nothing captures a local program's TCP: its sidecar listens on a port of its own for the service. */
async function openEgressListener(mesh: LocalMesh, { service, from }: TcpTarget): Promise<TcpAddress> {
  const ownPort = await freePort();
  const yaml = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${from.app}-${from.version}, namespace: default }
spec:
  workloadSelector: { labels: { app: ${from.app}, version: ${from.version} } }
  egress:
    - port: { number: ${ownPort}, name: tcp-${service}, protocol: TCP }
      bind: 127.0.0.1
      captureMode: NONE
      hosts: ["./${service}.default.svc.cluster.local"]
`;
  await mesh.apply(yaml);
  return { host: '127.0.0.1', port: ownPort, [Symbol.asyncDispose]: () => mesh.delete(yaml) };
}
