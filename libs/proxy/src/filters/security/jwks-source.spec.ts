import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type Clock, systemClock } from '@mizzen/core';
import { Field } from '@mizzen/matching';
import { RemoteJwksSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import type { CallRuntime } from '../../http/async-client.ts';
import { StaticCluster } from '../../http/testing.ts';
import { wheelOf } from '../../http/timer-wheel.ts';
import type { Jwks } from './jwks.ts';
import { compileRemoteJwks, RemoteJwksSource } from './jwks-source.ts';

type Json = { readonly [field: string]: JsonValue };

const KEYS = JSON.stringify({ keys: [generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })] });

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A server of keys: answers with what stands in `answers`, the last one for ever. */
class KeyServer {
  requests = 0;
  answers: { status: number; body: string }[] = [{ status: 200, body: KEYS }];
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  async start(): Promise<number> {
    const server = createServer((_request, response) => {
      this.requests++;
      const { status, body } = (this.answers.length > 1 ? this.answers.shift() : this.answers[0]) as { status: number; body: string };
      response.writeHead(status).end(body);
      for (const waiting of this.#waiting) if (this.requests >= waiting.count) waiting.resolve();
    });
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  untilRequests(count: number): Promise<void> {
    if (this.requests >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }
}

interface Made {
  readonly source: RemoteJwksSource;
  readonly server: KeyServer;
  readonly stats: { fetchSuccess: number; fetchFailed: number };
  advance(ms: number): void;
}

async function make(message: Json = {}, answers?: KeyServer['answers']): Promise<Made> {
  const server = new KeyServer();
  if (answers !== undefined) server.answers = answers;
  const cluster = new StaticCluster('keys', [await server.start()]);
  let offsetMs = 0;
  const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + offsetMs };
  const runtime: CallRuntime = { context: { clock, random: () => 0, cluster: () => cluster }, wheel: wheelOf(clock) };
  const field = new Field('', []);
  const uri = { uri: 'http://issuer.example/keys', cluster: 'keys', timeout: '20s' };
  const config = compileRemoteJwks(fromJson(RemoteJwksSchema, { httpUri: uri, ...message }), field);
  if (config === undefined) throw new Error(JSON.stringify(field.rejections));
  const stats = { fetchSuccess: 0, fetchFailed: 0 };
  return { source: new RemoteJwksSource(config, runtime, stats), server, stats, advance: (ms) => (offsetMs += ms) };
}

function fetched(source: RemoteJwksSource): Promise<Jwks> {
  return new Promise((resolve) => source.fetch(resolve));
}

describe('keys of another server', () => {
  it('are not there before they were fetched', async () => {
    const { source } = await make();
    expect(source.current()).toBeUndefined();
    expect(await fetched(source)).toHaveLength(1);
    expect(source.current()).toHaveLength(1);
  });

  it('are fetched once for all who wait', async () => {
    const { source, server, stats } = await make();
    await Promise.all([fetched(source), fetched(source), fetched(source)]);
    expect([server.requests, stats]).toEqual([1, { fetchSuccess: 1, fetchFailed: 0 }]);
  });

  it('run out', async () => {
    const { source, advance } = await make({ cacheDuration: '60s' });
    await fetched(source);
    advance(59_000);
    expect(source.current()).toHaveLength(1);
    advance(1001);
    expect(source.current()).toBeUndefined();
  });

  it.each([
    { name: 'an error', answer: { status: 500, body: '' } },
    { name: 'nothing there', answer: { status: 404, body: KEYS } },
    { name: 'no keys', answer: { status: 200, body: '{"keys":[]}' } },
    { name: 'no JSON', answer: { status: 200, body: '<html>' } },
  ])('let nothing through where the server answers $name', async ({ answer }) => {
    const { source, stats } = await make({}, [answer]);
    expect(await fetched(source)).toBe('jwks-fetch-failed');
    expect(source.current()).toBeUndefined();
    expect(stats).toEqual({ fetchSuccess: 0, fetchFailed: 1 });
  });

  it('let nothing through once they ran out and cannot be fetched', async () => {
    const { source, advance } = await make({ cacheDuration: '60s' }, [
      { status: 200, body: KEYS },
      { status: 503, body: '' },
    ]);
    expect(await fetched(source)).toHaveLength(1);
    advance(61_000);
    expect(await fetched(source)).toBe('jwks-fetch-failed');
    expect(source.current()).toBeUndefined();
  });

  it('are asked for again as the retry policy says', async () => {
    const retryPolicy = { numRetries: 2, retryBackOff: { baseInterval: '0.001s' } };
    const { source, server } = await make({ retryPolicy }, [
      { status: 503, body: '' },
      { status: 503, body: '' },
      { status: 200, body: KEYS },
    ]);
    expect(await fetched(source)).toHaveLength(1);
    expect(server.requests).toBe(3);
  });

  it('are fetched ahead, again after a failure, and stay', async () => {
    const { source, server, advance } = await make({ asyncFetch: { failedRefetchDuration: '0.02s' } }, [
      { status: 503, body: '' },
      { status: 200, body: KEYS },
    ]);
    await server.untilRequests(2);
    await fetched(source);
    advance(86_400_000);
    expect(source.current()).toHaveLength(1);
  });

  it.each([
    { name: 'no URL', message: { uri: 'keys', cluster: 'keys', timeout: '1s' }, path: 'http_uri.uri' },
    { name: 'a URL of another kind', message: { uri: 'ftp://keys/', cluster: 'keys', timeout: '1s' }, path: 'http_uri.uri' },
    { name: 'no cluster', message: { uri: 'http://keys/', cluster: '', timeout: '1s' }, path: 'http_uri.cluster' },
  ])('are refused with $name', ({ message, path }) => {
    const field = new Field('', []);
    compileRemoteJwks(fromJson(RemoteJwksSchema, { httpUri: message }), field);
    expect(field.rejections.map((rejection) => rejection.path)).toEqual([path]);
  });
});
