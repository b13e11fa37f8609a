import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { envoyBinary } from '../envoy-process.ts';
import { workspace } from '../workspace.ts';
import { OUTSIDE } from './capture-bootstrap.ts';
import { CASES, LOOP_CASES, OUR_CASES } from './capture-cases.ts';
import { envoyCommand, OUR_PROXY, startCapturedProxy } from './captured-proxy.ts';
import { createWorkloadNetwork, describeWithNetns, type NetnsPeer, PROXY_ID } from './netns.ts';

const IPTABLES = [process.execPath, '--disable-warning=ExperimentalWarning', path.join(workspace, 'apps/sidecar/src/iptables-main.ts')];

type Network = ReturnType<typeof createWorkloadNetwork>;

interface Peers {
  readonly app: NetnsPeer;
  readonly proxyUser: NetnsPeer;
  readonly remote: NetnsPeer;
}

/** Starts what is called: the workload's own servers, and those around it. */
async function startPeers({ workload, network }: Network): Promise<Peers> {
  network.run('ip', 'addr', 'add', `${OUTSIDE.ipv4}/32`, 'dev', 'lo');
  network.run('ip', 'addr', 'add', `${OUTSIDE.ipv6}/128`, 'dev', 'lo', 'nodad');
  const peers = { app: workload.startPeer(0), proxyUser: workload.startPeer(PROXY_ID), remote: network.startPeer(0) };
  const { app, remote } = peers;
  await Promise.all([
    app.serve('app', '::', 9080),
    app.serve('app', '::', 9999),
    app.serve('status', '::', 15020),
    remote.serve('web', '10.8.0.1', 8080),
    remote.serve('database', '10.8.0.1', 3307, { greets: true }),
    ...Object.values(OUTSIDE).flatMap((host) => [remote.serve('outside', host, 80), remote.serve('outside', host, 7000)]),
  ]);
  return peers;
}

/** The cases through a proxy: what each caller was answered, and what the proxy logged of it. */
function itCaptures(start: { readonly command: readonly string[]; readonly backend: string; readonly isOurs: boolean }): void {
  let net: Network;
  let peers: Peers;
  let proxy: Awaited<ReturnType<typeof startCapturedProxy>>;
  beforeAll(async () => {
    net = createWorkloadNetwork();
    peers = await startPeers(net);
    net.workload.run(...IPTABLES, '--backend', start.backend);
    proxy = await startCapturedProxy(start.command, { workload: net.workload, peer: peers.proxyUser });
  }, 60_000);
  afterAll(async () => {
    await net.close();
    proxy.close();
  }, 60_000);

  const cases = [...CASES, ...LOOP_CASES, ...(start.isOurs ? OUR_CASES : [])];
  it.each(cases.map((each) => [each.title, each] as const))('%s', async (_, { caller, question, answers }) => {
    expect(answers).toContain(await peers[caller].ask({ protocol: 'tcp', ...question }));
  });

  it('logs where captured connections went to, and nothing of those that were not captured', async () => {
    const expected = cases.flatMap((each) => each.log ?? []);
    expect(await proxy.log(expected.length)).toEqual([...expected].sort());
  });
}

describeWithNetns('capture by iptables (needs netns)', () => {
  describe.each(['nft', 'legacy'])('our proxy, rules by iptables-%s', (backend) => {
    itCaptures({ command: OUR_PROXY, backend, isOurs: true });
  });
});

(envoyBinary === '' ? describe.skip : describeWithNetns)('capture by iptables (needs envoy, netns)', () => {
  describe('Envoy', () => itCaptures({ command: envoyCommand(envoyBinary), backend: 'nft', isOurs: false }));
});
