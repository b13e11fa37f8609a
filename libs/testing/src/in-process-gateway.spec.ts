import { once } from 'node:events';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Secret } from '@mizzen/core';
import { createHostCertificate, type HostCertificate, type Mesh, sendRequest, startMesh } from './index.ts';

const CONFIG = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ["shop.example", "*.wild.example"]}
  - {port: {number: 80, name: http-old, protocol: HTTP}, hosts: ["shop.example"], tls: {httpsRedirect: true}}
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ["shop.example"], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /api}}], rewrite: {uri: /v1}, route: [{destination: {host: reviews}}]}
  - {match: [{uri: {exact: /}}], route: [{destination: {host: reviews}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec: {hosts: ["*.wild.example"], gateways: [edge], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`;

describe('an ingress gateway', () => {
  let mesh: Mesh;
  let certificate: HostCertificate;
  beforeAll(async () => {
    certificate = await createHostCertificate('shop.example');
    const { certChainPem, privateKeyPem } = certificate;
    mesh = await startMesh({
      services: { reviews: {} },
      config: CONFIG,
      hasGateway: true,
      credentials: new Map([['shop', { certChainPem, privateKey: new Secret(privateKeyPem) }]]),
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('takes a request into the mesh over mutual TLS', async () => {
    const answer = await mesh.gateway.get('/', { host: 'shop.example' });
    expect([answer.status, answer.servedBy]).toEqual([200, 'reviews-v1']);
    expect(answer.echo.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway');
    expect(answer.echo.headers['x-forwarded-for']).toBe('127.0.0.1');
    expect(answer.echo.headers['x-forwarded-proto']).toBe('http');
  });

  it.each(['other.example', 'wild.example', 'shop.example.evil'])('answers 404 for the host %s that no server has', async (host) => {
    const answer = await mesh.gateway.get('/', { host });
    expect([answer.status, answer.servedBy]).toEqual([404, undefined]);
  });

  it('answers 404 where no route matches, and routes a host that a wildcard covers', async () => {
    expect((await mesh.gateway.get('/none', { host: 'shop.example' })).status).toBe(404);
    expect((await mesh.gateway.get('/any', { host: 'a.wild.example:8080' })).status).toBe(200);
  });

  it('does not believe what a client says of itself', async () => {
    const headers = { host: 'shop.example', 'x-request-id': 'mine', 'x-envoy-internal': 'true', 'x-forwarded-client-cert': 'By=me' };
    const { echo } = await mesh.gateway.get('/api/x', headers);
    expect(echo.path).toBe('/v1/x');
    expect(echo.headers['x-request-id']).not.toBe('mine');
    expect(echo.headers['x-forwarded-client-cert']).not.toContain('By=me');
  });

  it('sends plain HTTP on to HTTPS, to the port that is bound for 443', async () => {
    const answer = await mesh.gateway.send({ port: 80, path: '/x?y=1', headers: { host: 'shop.example' } });
    expect([answer.status, answer.headers.location]).toEqual([301, `https://shop.example:${mesh.gateway.port(443)}/x?y=1`]);
  });

  it('serves HTTPS with the certificate of its credential', async () => {
    const socket = tlsConnect({
      port: mesh.gateway.port(8443),
      host: '127.0.0.1',
      servername: 'shop.example',
      ca: certificate.caPem,
      ALPNProtocols: ['http/1.1'],
    });
    await once(socket, 'secureConnect');
    expect([socket.authorized, socket.alpnProtocol]).toEqual([true, 'http/1.1']);
    const answer = await sendRequest({ socket, headers: { host: 'shop.example', connection: 'close' } });
    expect([answer.status, answer.servedBy]).toEqual([200, 'reviews-v1']);
    expect(answer.echo.headers['x-forwarded-proto']).toBe('https');
  });

  it('refuses a TLS connection for a host that no server has', async () => {
    const socket = tlsConnect({ port: mesh.gateway.port(8443), host: '127.0.0.1', servername: 'other.example', rejectUnauthorized: false });
    await expect(once(socket, 'secureConnect')).rejects.toMatchObject({ code: 'ECONNRESET' });
  });
});
