import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Field } from '@mizzen/matching';
import { JwtProviderSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import { ROUTER, StaticCluster, TestProxy } from '../../http/testing.ts';
import { type Jwks, parseJwks } from './jwks.ts';
import { CompiledProvider } from './jwt-provider.ts';

type Json = { readonly [field: string]: JsonValue };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const { privateKey, publicKey } = generateKeyPairSync('ed25519');

function tokenFor(claims: object, key: KeyObject = privateKey): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode({ alg: 'EdDSA' })}.${encode(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

function jwksOf(key: KeyObject): Jwks {
  return parseJwks(JSON.stringify({ keys: [key.export({ format: 'jwk' })] }));
}

async function serve(handler: RequestListener): Promise<number> {
  const server = createServer(handler);
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A proxy that asks for a token whose keys are served by `keys`. */
async function start(keys: RequestListener): Promise<{ proxy: TestProxy; port: number }> {
  const upstream = await serve((_request, response) => response.end('up'));
  const proxy = new TestProxy({
    clusters: [new StaticCluster('up', [upstream]), new StaticCluster('keys', [await serve(keys)])],
    hcm: {
      statPrefix: 'test',
      routeConfig: {
        name: 'r',
        virtualHosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up' } }] }],
      },
      httpFilters: [
        {
          name: 'envoy.filters.http.jwt_authn',
          typedConfig: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
            providers: { p: { remoteJwks: { httpUri: { uri: 'http://issuer/keys', cluster: 'keys', timeout: '5s' } } } },
            rules: [{ match: { prefix: '/' }, requires: { providerName: 'p' } }],
          },
        },
        ROUTER,
      ],
    },
  });
  closers.push(() => proxy.close());
  return { proxy, port: await proxy.listen() };
}

function send(port: number): { readonly socket: Socket; readonly answer: Promise<string> } {
  const socket = connect(port, '127.0.0.1');
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.write(`GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer ${tokenFor({})}\r\n\r\n`);
  return { socket, answer: new Promise((resolve) => socket.on('close', () => resolve(received))) };
}

describe('the JWT filter', () => {
  it('lets requests wait for keys, all for one fetch', async () => {
    let fetches = 0;
    const { port } = await start((_request, response) => {
      fetches++;
      response.end(JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] }));
    });
    const answers = await Promise.all([send(port).answer, send(port).answer]);
    expect(answers.map((answer) => answer.slice(0, 12))).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    expect(fetches).toBe(1);
  });

  it('lets nothing through where keys cannot be had', async () => {
    const { port } = await start((_request, response) => response.destroy());
    const answer = await send(port).answer;
    expect(answer).toContain('HTTP/1.1 401');
    expect(answer).toContain('Jwks remote fetch is failed');
  });

  it('forgets a request whose client left while keys were fetched', async () => {
    const asked = Promise.withResolvers<() => void>();
    const { port, proxy } = await start((_request, response) => {
      asked.resolve(() => response.end(JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] })));
    });
    const { socket } = send(port);
    const answerKeys = await asked.promise;
    socket.destroy();
    await proxy.untilEnded(1);
    answerKeys();
    // The keys that came serve the next request, and the one before is not routed after its end.
    expect(await send(port).answer).toContain('HTTP/1.1 200');
    expect(proxy.ended.map(({ responseCode }) => responseCode)).toEqual([0, 200]);
  });
});

describe('a provider of tokens', () => {
  function make(message: Json = {}): { provider: CompiledProvider; useKeys(keys: Jwks): void; stats: Record<string, number> } {
    let current = jwksOf(publicKey);
    const stats = { allowed: 0, denied: 0, corsPreflightBypassed: 0, fetchSuccess: 0, fetchFailed: 0, cacheHit: 0, cacheMiss: 0 };
    const keys = { current: () => current, fetch: () => undefined };
    const provider = new CompiledProvider(fromJson(JwtProviderSchema, message), { field: new Field('', []), keys, stats });
    return {
      provider,
      stats,
      useKeys(next) {
        current = next;
      },
    };
  }

  function check(provider: CompiledProvider, token: string): string {
    const decoded = provider.decode(token);
    if (typeof decoded === 'string') return decoded;
    return decoded.isVerified ? 'known' : provider.verify(token, decoded.jwt, provider.keys.current() as Jwks);
  }

  it('verifies a token once', () => {
    const { provider, stats } = make();
    const token = tokenFor({ a: 1 });
    expect([check(provider, token), check(provider, token)]).toEqual(['ok', 'known']);
    expect(stats).toMatchObject({ cacheHit: 1, cacheMiss: 1 });
  });

  it('keeps no token that is not good', () => {
    const { provider } = make();
    const token = tokenFor({ a: 1 }, generateKeyPairSync('ed25519').privateKey);
    expect([check(provider, token), check(provider, token)]).toEqual(['verification-failed', 'verification-failed']);
  });

  it('forgets what it verified when its keys change', () => {
    const { provider, useKeys } = make();
    const token = tokenFor({ a: 1 });
    check(provider, token);
    useKeys(jwksOf(generateKeyPairSync('ed25519').publicKey));
    expect(check(provider, token)).toBe('verification-failed');
  });

  it('keeps so many tokens, those that were used last', () => {
    const { provider } = make({ jwtCacheConfig: { jwtCacheSize: 2 } });
    const [one, two, three] = [1, 2, 3].map((a) => tokenFor({ a })) as [string, string, string];
    for (const token of [one, two, one, three]) check(provider, token);
    expect([check(provider, one), check(provider, two)]).toEqual(['known', 'ok']);
  });

  it('asks for a time to end and a subject', () => {
    const { provider } = make({ maxLifetime: '60s', subjects: { prefix: 'user-' } });
    const claims = (payload: object): string => {
      const decoded = provider.decode(tokenFor(payload));
      return typeof decoded === 'string' ? decoded : provider.checkClaims(decoded.jwt, 1000);
    };
    expect([
      claims({ sub: 'user-1', exp: 1059 }),
      claims({ sub: 'user-1', exp: 1060 }),
      claims({ sub: 'user-1' }),
      claims({ sub: 'x', exp: 1059 }),
    ]).toEqual(['ok', 'verification-failed', 'verification-failed', 'verification-failed']);
  });

  it('reads texts of several words as lists where it is told to', () => {
    const { provider } = make({ normalizePayloadInMetadata: { spaceDelimitedClaims: ['scope', 'missing', 'toString'] } });
    const decoded = provider.decode(tokenFor({ scope: 'read  write', other: 'a b' }));
    expect(typeof decoded === 'string' ? decoded : provider.payloadForMetadata(decoded.jwt)).toEqual({
      scope: ['read', 'write'],
      other: 'a b',
    });
  });
});
