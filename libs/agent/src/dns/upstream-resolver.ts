import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP } from 'node:net';
import type { Clock } from '@mizzen/core';
import { type DnsQuery, isAnswerTo, isTruncated, withId } from './dns-message.ts';
import { framed, readDnsStream } from './dns-stream.ts';

export interface UpstreamServer {
  readonly host: string;
  readonly port: number;
}

export interface UpstreamResolverOptions {
  /** In the order in which they are asked. */
  readonly servers: readonly UpstreamServer[];
  readonly clock: Clock;
  /** For one question, all servers together. Default 5 s, as Istio's agent and the C library. */
  readonly timeoutMs?: number;
}

export type DnsTransport = 'udp' | 'tcp';

const TIMEOUT_MS = 5000;
const MIN_ATTEMPT_MS = 1000;

/** Asks the servers that the machine would ask itself. */
export class UpstreamResolver {
  readonly #options: UpstreamResolverOptions;
  /** The server that answered last is asked first: one that is away costs its time once, not with every question. */
  #preferred = 0;

  constructor(options: UpstreamResolverOptions) {
    this.#options = options;
  }

  /** The answer as the server gave it, under the question's own id. Rejects when no server answered. */
  async resolve(query: DnsQuery, transport: DnsTransport): Promise<Buffer> {
    const { servers, clock, timeoutMs = TIMEOUT_MS } = this.#options;
    const deadline = clock.monotonic() + timeoutMs;
    const attemptMs = Math.max(MIN_ATTEMPT_MS, timeoutMs / Math.max(servers.length, 1));
    const first = this.#preferred;
    let lastFailure: unknown = new Error('resolv.conf names no DNS server');
    for (let attempt = 0; attempt < servers.length; attempt++) {
      const leftMs = Math.min(attemptMs, deadline - clock.monotonic());
      if (leftMs <= 0) break;
      const index = (first + attempt) % servers.length;
      try {
        const answer = await this.#ask(query, { server: servers[index] as UpstreamServer, transport, timeoutMs: leftMs });
        this.#preferred = index;
        return withId(answer, query.id);
      } catch (thrown) {
        lastFailure = thrown;
      }
    }
    throw lastFailure;
  }

  async #ask(query: DnsQuery, { transport, ...rest }: Omit<Attempt, 'clock'> & { transport: DnsTransport }): Promise<Buffer> {
    const attempt = { ...rest, clock: this.#options.clock };
    if (transport === 'tcp') return askOverTcp(query, attempt);
    const answer = await askOverUdp(query, attempt);
    return isTruncated(answer) ? askOverTcp(query, attempt).catch(() => answer) : answer;
  }
}

interface Attempt {
  readonly server: UpstreamServer;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

// A socket for each question: its port is as hard to guess as its id. Source: RFC 5452 9.2.
function askOverUdp(query: DnsQuery, { server, timeoutMs, clock }: Attempt): Promise<Buffer> {
  const id = randomInt(0x10000);
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(server.host) === 6 ? 'udp6' : 'udp4');
    let isOver = false;
    const end = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      timer.cancel();
      socket.close();
      settle();
    };
    const timer = clock.after(timeoutMs, () => end(() => reject(noAnswer(timeoutMs))));
    socket.on('error', (error) => end(() => reject(error)));
    socket.on('message', (answer) => {
      if (isAnswerTo(query, id, answer)) end(() => resolve(answer));
    });
    // Connected, so that the kernel takes answers from this server only, and says at once when nobody listens there.
    socket.connect(server.port, server.host, () => {
      if (!isOver) socket.send(withId(query.bytes, id));
    });
  });
}

function askOverTcp(query: DnsQuery, { server, timeoutMs, clock }: Attempt): Promise<Buffer> {
  const id = randomInt(0x10000);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port });
    const timer = clock.after(timeoutMs, () => socket.destroy(noAnswer(timeoutMs)));
    socket.once('error', reject);
    socket.once('close', () => {
      timer.cancel();
      reject(new Error('the server closed the connection'));
    });
    readDnsStream(socket, (answer) => {
      if (!isAnswerTo(query, id, answer)) return;
      resolve(answer);
      socket.destroy();
    });
    socket.write(framed(withId(query.bytes, id)));
  });
}

function noAnswer(timeoutMs: number): Error {
  return new Error(`no answer after ${Math.round(timeoutMs)} ms`);
}
