import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { freePort } from '@mizzen/testing';
import { ask, askMany, startProxyProcess, until } from './proxy-processes.testing.ts';

const START_TIMEOUT_MS = 120_000;
const TYPES = 'type.googleapis.com/envoy.extensions.filters';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mizzen-restart-'));
});
afterAll(() => rm(folder, { recursive: true }));

interface Ports {
  readonly admin: number;
  readonly listeners: Readonly<Record<string, number>>;
}

async function freePorts(...names: readonly string[]): Promise<Ports> {
  const listeners: Record<string, number> = {};
  for (const name of names) listeners[name] = await freePort();
  return { admin: await freePort(), listeners };
}

function listenerOf(name: string, port: number): object {
  const hcm = {
    '@type': `${TYPES}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] }],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': `${TYPES}.http.router.v3.Router` } }],
  };
  const address = { socket_address: { address: '127.0.0.1', port_value: port } };
  return { name, address, filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }] };
}

/** A bootstrap with these of the listeners. */
async function bootstrap(name: string, { admin, listeners }: Ports, wanted: readonly string[]): Promise<string> {
  const file = join(folder, `${name}-${wanted.join('-')}.json`);
  const address = { socket_address: { address: '127.0.0.1', port_value: admin } };
  const made = wanted.map((listener) => listenerOf(listener, listeners[listener] as number));
  await writeFile(file, JSON.stringify({ admin: { address }, static_resources: { listeners: made } }));
  return file;
}

/** A connection with one request behind it that is kept. */
async function openConnection(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await once(socket, 'data');
  socket.resume();
  return socket;
}

/** One whose request never ends: it keeps a draining process alive. */
async function openRequest(port: number): Promise<Socket> {
  const socket = await openConnection(port);
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n');
  return socket;
}

const describeOnLinux = process.platform === 'linux' ? describe : describe.skip;

describeOnLinux('hot restart (needs linux)', () => {
  it.each([1, 2])(
    'of %d event loops closes a listener that the new configuration lacks: nobody waits in its queue',
    async (concurrency) => {
      const ports = await freePorts('stays', 'goes');
      const { stays, goes } = ports.listeners as { stays: number; goes: number };
      const flags = ['--base-id', String(ports.admin), '--concurrency', String(concurrency)];
      await using before = await startProxyProcess('-c', await bootstrap('lacks', ports, ['stays', 'goes']), ...flags);
      expect(await askMany(`http://127.0.0.1:${goes}/`, 4)).toEqual({ 200: 4 });
      const ended = once(before.child, 'close');
      await using after = await startProxyProcess('-c', await bootstrap('lacks', ports, ['stays']), ...flags, '--restart-epoch', '1');
      expect((await ended)[0]).toBe(0);
      expect(after.admin).toBe(ports.admin);
      expect(await ask(`http://127.0.0.1:${goes}/`)).toBe('ECONNREFUSED');
      expect(await askMany(`http://127.0.0.1:${stays}/`, 10)).toEqual({ 200: 10 });
    },
    START_TIMEOUT_MS,
  );

  it(
    'that fails at its start leaves the old process serving, its admin interface too, and the next one succeeds',
    async () => {
      const ports = await freePorts('in', 'taken');
      const { in: port, taken } = ports.listeners as { in: number; taken: number };
      const flags = ['--base-id', String(ports.admin)];
      const good = await bootstrap('fails', ports, ['in']);
      await using stranger = await startProxyProcess(
        '-c',
        await bootstrap('stranger', { ...ports, admin: 0 }, ['taken']),
        '--disable-hot-restart',
      );
      await using before = await startProxyProcess('-c', good, ...flags);
      // Its listeners are handed over, then a port that somebody else has ends it.
      const failing = startProxyProcess('-c', await bootstrap('fails', ports, ['in', 'taken']), ...flags, '--restart-epoch', '1');
      await expect(failing).rejects.toThrow('address already in use');
      await until(() => before.log().includes('ended before it served'));
      expect(await askMany(`http://127.0.0.1:${port}/`, 10)).toEqual({ 200: 10 });
      await until(async () => (await ask(`http://127.0.0.1:${ports.admin}/ready`)) === '200');
      const ended = once(before.child, 'close');
      await using after = await startProxyProcess('-c', good, ...flags, '--restart-epoch', '1');
      expect((await ended)[0]).toBe(0);
      expect(await ask(`http://127.0.0.1:${port}/`)).toBe('200');
      expect(await ask(`http://127.0.0.1:${taken}/`)).toBe('200');
      expect([after.child.exitCode, stranger.child.exitCode]).toEqual([null, null]);
    },
    START_TIMEOUT_MS,
  );

  it.each([1, 2])(
    'of %d event loops adds what the old process counts until it ends: counters stay, gauges go with it',
    async (concurrency) => {
      const ports = await freePorts('in');
      const { in: port } = ports.listeners as { in: number };
      const file = await bootstrap('counts', ports, ['in']);
      const flags = ['--base-id', String(ports.admin), '--concurrency', String(concurrency)];
      // Long enough for the request that is kept to be seen by whoever asks.
      await using before = await startProxyProcess('-c', file, ...flags, '--drain-time-s', '60');
      expect(await before.stats('^server.(hot_restart|parent)')).toEqual({
        'server.hot_restart_epoch': 0,
        'server.hot_restart_generation': 1,
        'server.parent_connections': 0,
      });
      expect(await askMany(`http://127.0.0.1:${port}/`, 50)).toEqual({ 200: 50 });
      const kept = await openRequest(port);
      const ended = once(before.child, 'close');
      await using after = await startProxyProcess('-c', file, ...flags, '--restart-epoch', '1');
      const filter = '^(http.in.downstream_(rq_total|cx_active)|server.(total_connections|parent_connections|hot_restart.*))$';
      await until(async () => (await after.stats(filter))['server.parent_connections'] === 1);
      expect(await after.stats(filter)).toEqual({
        'http.in.downstream_cx_active': 1,
        // What was counted before the hand-over was told by the old process.
        'http.in.downstream_rq_total': 0,
        'server.hot_restart_epoch': 1,
        'server.hot_restart_generation': 2,
        'server.parent_connections': 1,
        'server.total_connections': 1,
      });
      // The request under way ends in the old process.
      kept.write('\r\n');
      expect((await ended)[0]).toBe(0);
      expect(await askMany(`http://127.0.0.1:${port}/`, 3)).toEqual({ 200: 3 });
      await until(async () => (await after.stats(filter))['server.parent_connections'] === 0);
      await until(async () => (await after.stats(filter))['http.in.downstream_cx_active'] === 0);
      expect((await after.stats(filter))['http.in.downstream_rq_total']).toBe(4);
      const { uptime_all_epochs: all, uptime_current_epoch: current } = (await (
        await fetch(`http://127.0.0.1:${ports.admin}/server_info`)
      ).json()) as Record<string, string>;
      expect(Number.parseFloat(all as string)).toBeGreaterThan(Number.parseFloat(current as string));
    },
    START_TIMEOUT_MS,
  );

  it(
    'ends the old process after the time that the new one gives it, whatever connections it has',
    async () => {
      const ports = await freePorts('in');
      const { in: port } = ports.listeners as { in: number };
      const file = await bootstrap('late', ports, ['in']);
      const flags = ['--base-id', String(ports.admin)];
      await using before = await startProxyProcess('-c', file, ...flags, '--drain-time-s', '600');
      const kept = await openRequest(port);
      const gone = once(kept, 'close');
      const ended = once(before.child, 'close');
      await using after = await startProxyProcess('-c', file, ...flags, '--restart-epoch', '1', '--parent-shutdown-time-s', '1');
      await gone;
      expect((await ended)[0]).toBe(0);
      expect(await ask(`http://${after.listeners['in']}/`)).toBe('200');
    },
    START_TIMEOUT_MS,
  );
});
