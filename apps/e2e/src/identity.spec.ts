import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { dirname, join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { uriSansOf } from '@mizzen/identity';
import { fetchText } from './bookinfo.ts';
import { startLoad } from './load.ts';
import { LocalMesh } from './local-mesh.ts';
import { until } from './until.ts';
import { networkingFile } from './workspace.ts';

describe('identity on the wire', () => {
  let mesh: LocalMesh;

  beforeAll(async () => {
    mesh = await LocalMesh.start();
  }, 120_000);

  afterAll(async () => {
    await mesh?.[Symbol.asyncDispose]();
  }, 60_000);

  it.each([
    ['details-v1', 'details'],
    ['reviews-v1', 'reviews'],
    ['ratings-v1', 'ratings'],
    ['productpage-v1', 'productpage'],
  ])('%s presents its SPIFFE id and asks for a certificate', async (workload, service) => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: inboundPort(workload),
      rejectUnauthorized: false,
      ALPNProtocols: ['istio-http/1.1', 'istio', 'http/1.1'],
    });
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    const certificate = socket.getPeerX509Certificate();
    expect(certificate && uriSansOf(certificate)).toEqual([`spiffe://cluster.local/ns/default/sa/bookinfo-${service}`]);
    // Without a certificate of ours the connection ends before any answer.
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(await everything(socket)).toBe('');
  });

  it.each(['details-v1', 'reviews-v1', 'ratings-v1', 'productpage-v1'])('%s refuses plaintext without an HTTP answer', async (workload) => {
    const socket = connectTcp({ host: '127.0.0.1', port: inboundPort(workload) });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(await everything(socket)).toBe('');
  });

  it('no service listens on a TCP port besides its sidecar, and its socket is its owner’s alone', async () => {
    const { config } = mesh.state;
    const run = join(dirname(config), 'run');
    expect(statSync(run).mode & 0o077).toBe(0);
    expect(statSync(join(mesh.home, 'ca/ca-key.pem')).mode & 0o077).toBe(0);
  });

  it('one page appears in the access logs of both proxies of every hop, with one request id and both SPIFFE ids', async () => {
    await mesh.mizzen('apply', '-f', networkingFile('virtual-service-reviews-v3'));
    await mesh.settled();
    // Found by its query, because the gateway gives every request from outside an id of its own.
    const path = `/productpage?probe=${crypto.randomUUID()}`;
    expect((await fetchText(mesh.gatewayUrl + path)).status).toBe(200);
    const id = (sa: string): string => `spiffe://cluster.local/ns/default/sa/bookinfo-${sa}`;
    const gateway = 'spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway';
    const hops = [
      ['ingress-gateway', 'productpage-v1-sidecar', 'GET /productpage', gateway, id('productpage')],
      ['productpage-v1-sidecar', 'details-v1-sidecar', 'GET /details/0', id('productpage'), id('details')],
      ['productpage-v1-sidecar', 'reviews-v3-sidecar', 'GET /reviews/0', id('productpage'), id('reviews')],
      ['reviews-v3-sidecar', 'ratings-v1-sidecar', 'GET /ratings/0', id('reviews'), id('ratings')],
    ] as const;
    const pageId = await until('the gateway has logged the page', async () => {
      const line = mesh
        .log('ingress-gateway')
        .split('\n')
        .find((text) => text.includes(path));
      return line === undefined ? undefined : requestIdOf(line);
    });
    for (const [client, server, what, clientId, serverId] of hops) {
      await until(`${what} in the logs of ${client} and ${server}`, async () => {
        const sent = lineOf(client, what, pageId);
        const received = lineOf(server, what, pageId);
        return sent?.includes(serverId) && received?.includes(clientId) ? true : undefined;
      });
    }
    await mesh.mizzen('delete', 'virtualservice', 'reviews');
  });

  function lineOf(process: string, what: string, requestId: string): string | undefined {
    return mesh
      .log(process)
      .split('\n')
      .find((line) => line.includes(what) && line.includes(`"${requestId}"`));
  }

  function requestIdOf(line: string): string | undefined {
    return /"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"/.exec(line)?.[1];
  }

  function inboundPort(workload: string): number {
    const inbound = mesh.process(`${workload}-sidecar`).ports['inbound'] as Record<string, number>;
    return inbound['9080'] as number;
  }
});

describe('rotation', () => {
  it('rotates every certificate three times with no failed request', async () => {
    await using mesh = await LocalMesh.start({ env: { MIZZEN_WORKLOAD_TTL: '8s' } });
    const serials = new Set<string>();
    const port = (mesh.process('details-v1-sidecar').ports['inbound'] as Record<string, number>)['9080'] as number;
    const load = startLoad(`${mesh.gatewayUrl}/productpage`, { isGood: (body) => !body.includes('Error fetching') });
    await load.answered(10);
    await until(
      'four certificates of details',
      async () => {
        serials.add(await serialAt(port));
        return serials.size >= 4 ? true : undefined;
      },
      90_000,
    );
    expect(await load.stop()).toMatchObject({ failures: [] });
  }, 150_000);
});

async function serialAt(port: number): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['istio'] });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  const serial = socket.getPeerX509Certificate()?.serialNumber ?? '';
  socket.destroy();
  return serial;
}

/** All that the peer sends until it ends or resets the connection. */
async function everything(socket: TLSSocket | ReturnType<typeof connectTcp>): Promise<string> {
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  // Not `once`, which rejects on an error: the alert that ends the connection is one.
  if (!socket.closed) await new Promise<void>((resolve) => socket.on('close', () => resolve()));
  return text;
}
