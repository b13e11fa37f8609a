import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Answer, createHostCertificate, exchangeBytes, type HostCertificate, type Mesh, sendRequest, startMesh } from './index.ts';

const peerAuthentication = (mode: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: ${mode}}}
`;

const tlsMode = (tls: string): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {tls: ${tls}}}
`;

const xfccOf = ({ echo }: Answer): string => String(echo.headers['x-forwarded-client-cert'] ?? '');

describe('mutual TLS between sidecars', () => {
  let mesh: Mesh;
  beforeAll(async () => {
    mesh = await startMesh({
      meshConfig: 'accessLogFile: /dev/stdout',
      services: { client: {}, reviews: {}, mysql: { protocol: 'TCP', port: 3306 } },
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const direct = (): Promise<Answer> => sendRequest({ port: mesh.workload('reviews').inboundPort, headers: { host: 'reviews:9080' } });
  const call = (): Promise<Answer> => mesh.call({ from: 'client', host: 'reviews' });

  it('is used by itself, and the program is told who called', async () => {
    expect(xfccOf(await call())).toMatch(
      /^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/reviews;Hash=[0-9a-f]{64};Subject="";URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client$/,
    );
  });

  it('PERMISSIVE takes plaintext beside it', async () => {
    await mesh.with(peerAuthentication('PERMISSIVE'), async () => {
      const answer = await direct();
      expect([answer.status, xfccOf(answer)]).toEqual([200, '']);
      expect(xfccOf(await call())).toContain('/sa/client');
    });
  });

  it('STRICT refuses plaintext and serves the mesh', async () => {
    await mesh.with(peerAuthentication('STRICT'), async () => {
      await expect(direct()).rejects.toMatchObject({ code: 'ECONNRESET' });
      expect(xfccOf(await call())).toContain('/sa/client');
    });
  });

  it('STRICT refuses a plaintext connection to a TCP port', async () => {
    const port = mesh.workload('mysql').inboundPort;
    expect(await exchangeBytes(port, 'select 1')).toBe('mysql-v1\nselect 1');
    await mesh.with(peerAuthentication('STRICT'), async () => {
      const received = await exchangeBytes(port, 'select 1').catch((thrown: { code?: string }) => thrown.code);
      expect(['', 'ECONNRESET']).toContain(received);
    });
  });

  it('DISABLE speaks plaintext with those who are told to', async () => {
    await mesh.with(`${peerAuthentication('DISABLE')}---${tlsMode('{mode: DISABLE}')}`, async () => {
      expect(xfccOf(await call())).toBe('');
      expect((await direct()).status).toBe(200);
    });
  });

  it('DISABLE is noticed by callers that are told nothing', async () => {
    await mesh.with(peerAuthentication('DISABLE'), async () => expect(xfccOf(await call())).toBe(''));
  });

  it('a client that is told to speak plaintext fails against STRICT', async () => {
    await mesh.with(`${peerAuthentication('STRICT')}---${tlsMode('{mode: DISABLE}')}`, async () => {
      const answer = await call();
      expect(answer.status).toBe(503);
      expect(answer.body).toContain('upstream connect error');
    });
  });

  it('ISTIO_MUTUAL says the same as nothing', async () => {
    await mesh.with(tlsMode('{mode: ISTIO_MUTUAL}'), async () => expect(xfccOf(await call())).toContain('/sa/client'));
  });

  it('a server of another identity than the one expected is not spoken to', async () => {
    await mesh.with(tlsMode('{mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/default/sa/someone-else"]}'), async () => {
      const answer = await mesh.call({ from: 'client', host: 'reviews', path: '/wrong' });
      expect(answer.status).toBe(503);
      const line = await mesh.workload('client').accessLog.first((text) => text.includes('"GET /wrong '));
      expect(line).toContain('TLS_error');
    });
  });
});

describe('what is outside of the mesh', () => {
  let mesh: Mesh;
  let certificate: HostCertificate;
  let port: number;
  const server = createServer();
  beforeAll(async () => {
    certificate = await createHostCertificate('localhost');
    server.setSecureContext({ cert: certificate.certChainPem, key: certificate.privateKeyPem });
    server.on('request', (request, response) => response.end(`secret of ${request.headers.host}`));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
    mesh = await startMesh({ services: { client: {}, other: {} } });
  });
  afterAll(async () => {
    await mesh?.[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const external = (tls: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: localhost}
spec:
  hosts: [localhost]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${port}}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: localhost}
spec: {host: localhost, trafficPolicy: {tls: ${tls}}}
`;
  const call = (): Promise<Answer> => mesh.call({ from: 'client', host: 'localhost', port: 80 });

  it('is reached by TLS that the sidecar originates', async () => {
    await mesh.with(external('{mode: SIMPLE, sni: localhost, insecureSkipVerify: true}'), async () => {
      expect(await call()).toMatchObject({ status: 200, body: 'secret of localhost:80' });
    });
  });

  it('is reached by its DNS name, under a name and port of its own', async () => {
    const byName = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-name}
spec:
  hosts: [books.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP, targetPort: ${port}}]
  endpoints: [{address: localhost, ports: {https: ${port}, http: ${port}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: books}
spec: {host: books.example, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: localhost, insecureSkipVerify: true}}]}}
`;
    await mesh.with(byName, async () => {
      expect(await mesh.call({ from: 'client', host: 'books.example', port: 80 })).toMatchObject({
        status: 200,
        body: 'secret of books.example:80',
      });
      // The program's own TLS, through a tunnel: nobody on the way reads it.
      const tunnel = await mesh.workload('client').tunnel('books.example:443');
      const socket = tlsConnect({ socket: tunnel, servername: 'localhost', ca: certificate.caPem });
      await once(socket, 'secureConnect');
      expect(await sendRequest({ socket, headers: { host: 'books.example', connection: 'close' } })).toMatchObject({
        body: 'secret of books.example',
      });
    });
  });

  it('is not spoken to where its certificate leads to no root that is trusted', async () => {
    await mesh.with(external('{mode: SIMPLE, sni: localhost}'), async () => expect((await call()).status).toBe(503));
  });

  it('is reached where nobody knows it, and is not under REGISTRY_ONLY', async () => {
    const target = mesh.workload('other').inboundPort;
    const passThrough = (via: 'absolute' | 'connect'): Promise<Answer> =>
      mesh.call({ from: 'client', host: '127.0.0.1', port: target, via });
    expect(await passThrough('absolute')).toMatchObject({ status: 200, servedBy: 'other-v1' });
    expect(await passThrough('connect')).toMatchObject({ status: 200, servedBy: 'other-v1' });
    await mesh.setMeshConfig('outboundTrafficPolicy: {mode: REGISTRY_ONLY}');
    expect(await passThrough('absolute')).toMatchObject({ status: 502, servedBy: undefined });
    await expect(passThrough('connect')).rejects.toThrow('was refused with 502');
    expect((await mesh.call({ from: 'client', host: 'other' })).status).toBe(200);
    await mesh.setMeshConfig('outboundTrafficPolicy: {mode: ALLOW_ANY}');
    expect((await passThrough('absolute')).status).toBe(200);
  });
});
