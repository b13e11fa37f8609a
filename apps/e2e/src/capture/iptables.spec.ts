import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { workspace } from '../workspace.ts';
import { createWorkloadNetwork, describeWithNetns, type NetnsPeer, PROXY_ID } from './netns.ts';

const PROGRAM = [process.execPath, '--disable-warning=ExperimentalWarning', path.join(workspace, 'apps/sidecar/src/iptables-main.ts')];
const BACKENDS = ['nft', 'legacy'] as const;
const TABLES = ['nat', 'raw', 'mangle'];

let net: ReturnType<typeof createWorkloadNetwork>;
let app: NetnsPeer;
let remote: NetnsPeer;
let proxyUser: NetnsPeer;

function iptables(...flags: readonly string[]): string {
  return net.workload.run(...PROGRAM, ...flags);
}

/** The rules of one implementation, without counters and dates. */
function saved(backend: string, family: 'iptables' | 'ip6tables' = 'iptables'): string {
  return net.workload
    .run(`${family}-${backend}-save`)
    .split('\n')
    .map((line) => (line.startsWith('#') ? '' : line.replace(/ \[\d+:\d+\]/, '')))
    .filter((line) => line !== '')
    .join('\n');
}

async function isCaptured(peer: NetnsPeer, destination: string): Promise<boolean> {
  const [, host = '', port] = /^(.*):(\d+)$/.exec(destination) ?? [];
  const answer = await peer.ask({ protocol: 'tcp', host, port: Number(port), text: 'hello\r\n' });
  if (answer !== 'error ECONNREFUSED' && !/^(app|outside): /.test(answer)) throw new Error(`${destination}: ${answer}`);
  return answer === 'error ECONNREFUSED';
}

const OUT = ['10.9.8.1:80', '10.9.8.1:7000', '10.9.7.1:80', 'fd00:9::1:80'];
const IN = ['10.8.0.2:9080', '10.8.0.2:9081', '10.8.0.2:15020', 'fd00:8::2:9080'];

describeWithNetns('mizzen iptables (needs netns)', () => {
  /** Nothing listens on the proxy's ports here: what is captured is refused, what is not is answered. */
  beforeAll(async () => {
    net = createWorkloadNetwork();
    for (const address of ['10.9.8.1/32', '10.9.7.1/32']) net.network.run('ip', 'addr', 'add', address, 'dev', 'lo');
    net.network.run('ip', 'addr', 'add', 'fd00:9::1/128', 'dev', 'lo', 'nodad');
    [app, proxyUser, remote] = [net.workload.startPeer(0), net.workload.startPeer(PROXY_ID), net.network.startPeer(0)];
    await Promise.all([
      app.serve('app', '::', 9080),
      app.serve('app', '::', 9081),
      app.serve('app', '::', 15020),
      ...['10.9.8.1', '10.9.7.1', 'fd00:9::1'].flatMap((host) => [80, 7000].map((port) => remote.serve('outside', host, port))),
    ]);
  }, 60_000);
  afterAll(() => net.close(), 60_000);

  describe.each(BACKENDS)('by iptables-%s', (backend) => {
    const set = (...flags: readonly string[]): void => void iptables('--backend', backend, ...flags);

    it.each([
      { flags: [], captured: [...OUT, '10.8.0.2:9080', '10.8.0.2:9081', 'fd00:8::2:9080'] },
      { flags: ['-b', '9080,1000', '-i', ''], captured: ['10.8.0.2:9080', 'fd00:8::2:9080'] },
      { flags: ['-b', '', '-i', '10.9.8.0/24,fd00:9::/64'], captured: ['10.9.8.1:80', '10.9.8.1:7000', 'fd00:9::1:80'] },
      {
        flags: ['-b', '*', '-d', '9081,15020', '-x', '10.9.8.1,fd00:9::/64'],
        captured: ['10.9.7.1:80', '10.8.0.2:9080', 'fd00:8::2:9080'],
      },
      { flags: ['-b', '', '-o', '80'], captured: ['10.9.8.1:7000'] },
      { flags: ['-b', '', '-i', '', '-q', '7000'], captured: ['10.9.8.1:7000'] },
      { flags: ['-c', 'eth0'], captured: [] },
      { flags: ['-b', '', '--outbound-owner-groups-exclude', '0'], captured: [] },
      { flags: ['-b', '', '--outbound-owner-groups', '4711'], captured: [] },
      { flags: ['-b', '', '--outbound-owner-groups', '0', '--drop-invalid'], captured: OUT },
      { flags: ['--ipv6', 'off'], captured: ['10.9.8.1:80', '10.9.8.1:7000', '10.9.7.1:80', '10.8.0.2:9080', '10.8.0.2:9081'] },
    ])('$flags captures $captured', async ({ flags, captured }) => {
      set(...flags);
      const found: string[] = [];
      for (const destination of OUT) if (await isCaptured(app, destination)) found.push(destination);
      for (const destination of IN) if (await isCaptured(remote, destination)) found.push(destination);
      expect(found).toEqual(captured);
      for (const destination of OUT) expect(await isCaptured(proxyUser, destination)).toBe(false);
    });

    it('set twice, the rules are the same', () => {
      set('--redirect-dns', '--capture-all-dns', '--drop-invalid');
      const once = [saved(backend), saved(backend, 'ip6tables')];
      set('--redirect-dns', '--capture-all-dns', '--drop-invalid');
      expect([saved(backend), saved(backend, 'ip6tables')]).toEqual(once);
      expect(once[0]).toContain('-A OUTPUT -j ISTIO_OUTPUT\n');
    });

    it('replaces what is left of another, and leaves rules of others alone', () => {
      iptables('--cleanup');
      set();
      const wanted = saved(backend);
      iptables('--cleanup');
      for (const rule of [
        '-t nat -N ISTIO_OUTPUT',
        '-t nat -A ISTIO_OUTPUT -p tcp --dport 4711 -j RETURN',
        '-t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT',
        '-t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT',
        '-t mangle -N ISTIO_DIVERT',
        '-t mangle -A ISTIO_DIVERT -j ACCEPT',
        '-t mangle -A PREROUTING -p tcp -j ISTIO_DIVERT',
        '-t nat -A OUTPUT -d 203.0.113.7/32 -j ACCEPT',
      ])
        net.workload.run(`iptables-${backend}`, ...rule.split(' '));
      set();
      expect(withoutEmptyTables(saved(backend)).replace('-A OUTPUT -d 203.0.113.7/32 -j ACCEPT\n', '')).toBe(withoutEmptyTables(wanted));
      net.workload.run(`iptables-${backend}`, '-t', 'nat', '-D', 'OUTPUT', '-d', '203.0.113.7/32', '-j', 'ACCEPT');
    });

    it('cleans up in both implementations and both families', () => {
      set('--redirect-dns', '--capture-all-dns', '--drop-invalid');
      iptables('--cleanup');
      for (const name of BACKENDS) expect(`${saved(name)}${saved(name, 'ip6tables')}`).not.toContain('ISTIO');
      iptables('--cleanup');
    });

    it('is chosen where it has rules already', () => {
      net.workload.run(`iptables-${backend}`, '-t', 'nat', '-A', 'OUTPUT', '-d', '203.0.113.7/32', '-j', 'ACCEPT');
      expect(iptables('--ipv6', 'off')).toContain(`(ipv4, ${backend})`);
      iptables('--cleanup');
      net.workload.run(`iptables-${backend}`, '-t', 'nat', '-F', 'OUTPUT');
    });
  });

  it('rules of the other implementation do not stay beside the new ones', () => {
    iptables('--backend', 'legacy');
    iptables('--backend', 'nft');
    expect(saved('legacy')).not.toContain('ISTIO');
    expect(saved('nft')).toContain('ISTIO_OUTPUT');
    iptables('--cleanup');
  });

  it('asks for what it lacks', () => {
    const asNobody = ['setpriv', '--reuid', '1000', '--inh-caps', '+dac_read_search', '--ambient-caps', '+dac_read_search'];
    expect(() => net.workload.run(...asNobody, ...PROGRAM)).toThrow('user 1000 lacks NET_ADMIN and NET_RAW');
  });
});

/** A table that was once used shows its kernel chains. */
function withoutEmptyTables(text: string): string {
  return TABLES.reduce((rest, table) => rest.replace(new RegExp(`\\*${table}\\n(:[A-Z]+ ACCEPT\\n)*COMMIT\\n?`), ''), `${text}\n`);
}

describeWithNetns('DNS (needs netns)', () => {
  it.each(BACKENDS)(
    'questions go to the agent, its own to the server, with rules by iptables-%s',
    async (backend) => {
      const net = createWorkloadNetwork();
      try {
        net.network.run('ip', 'addr', 'add', '10.9.9.53/32', 'dev', 'lo');
        net.workload.setResolvConf('nameserver 10.9.9.53\nsearch default.svc.cluster.local\n');
        const [app, agent, server] = [net.workload.startPeer(0), net.workload.startPeer(PROXY_ID), net.network.startPeer(0)];
        await Promise.all([
          agent.serveUdp('agent', '127.0.0.1', 15053),
          agent.serve('agent', '127.0.0.1', 15053),
          ...['10.9.9.53', '10.8.0.1'].flatMap((host) => [server.serveUdp('server', host, 53), server.serve('server', host, 53)]),
        ]);
        net.workload.run(...PROGRAM, '--backend', backend, '--redirect-dns', '-i', '');
        const ask = (peer: NetnsPeer, protocol: 'udp' | 'tcp', host: string): Promise<string> =>
          peer.ask({ protocol, host, port: 53, text: 'name?' });
        for (const protocol of ['udp', 'tcp'] as const) {
          expect(await ask(app, protocol, '10.9.9.53')).toMatch(/^agent/);
          expect(await ask(agent, protocol, '10.9.9.53')).toMatch(/^server/);
          expect(await ask(app, protocol, '10.8.0.1')).toMatch(/^server/);
        }
        net.workload.run(...PROGRAM, '--backend', backend, '--redirect-dns', '--capture-all-dns');
        for (const protocol of ['udp', 'tcp'] as const) {
          expect(await ask(app, protocol, '10.8.0.1')).toMatch(/^agent/);
          expect(await ask(agent, protocol, '10.8.0.1')).toMatch(/^server/);
        }
      } finally {
        await net.close();
      }
    },
    60_000,
  );

  // Docker answers at 127.0.0.11 inside of each container, by rules in OUTPUT and POSTROUTING that lead to a port of its own.
  it.each(BACKENDS)(
    "comes before Docker's own, with rules by iptables-%s",
    async (backend) => {
      const net = createWorkloadNetwork();
      try {
        net.workload.setResolvConf('nameserver 127.0.0.11\n');
        const [app, agent, docker] = [net.workload.startPeer(0), net.workload.startPeer(PROXY_ID), net.workload.startPeer(0)];
        await Promise.all([
          agent.serveUdp('agent', '127.0.0.1', 15053),
          agent.serve('agent', '127.0.0.1', 15053),
          docker.serveUdp('docker', '127.0.0.11', 40_053),
          docker.serve('docker', '127.0.0.11', 40_054),
        ]);
        for (const rule of [
          '-N DOCKER_OUTPUT',
          '-N DOCKER_POSTROUTING',
          '-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT',
          '-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING',
          '-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:40054',
          '-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:40053',
          '-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp --sport 40054 -j SNAT --to-source :53',
          '-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp --sport 40053 -j SNAT --to-source :53',
        ])
          net.workload.run(`iptables-${backend}`, '-t', 'nat', ...rule.split(' '));
        net.workload.run(...PROGRAM, '--redirect-dns');
        for (const protocol of ['udp', 'tcp'] as const) {
          expect(await app.ask({ protocol, host: '127.0.0.11', port: 53, text: 'name?' })).toMatch(/^agent/);
          expect(await agent.ask({ protocol, host: '127.0.0.11', port: 53, text: 'name?' })).toMatch(/^docker/);
        }
      } finally {
        await net.close();
      }
    },
    60_000,
  );
});
