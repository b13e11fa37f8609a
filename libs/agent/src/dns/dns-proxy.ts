import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type Clock, errorCode, errorMessage, joinHostPort, type Logger, listenError, type Random, type Running } from '@mizzen/core';
import type { AgentMetrics } from '../agent-metrics.ts';
import { type DnsQuery, encodeAnswer, encodeRcode, fitUdp, parseQuery, RCODE, rcodeOf } from './dns-message.ts';
import { framed, readDnsStream } from './dns-stream.ts';
import type { NameIndex, NameRecord } from './name-index.ts';
import { type DnsTransport, UpstreamResolver, type UpstreamServer } from './upstream-resolver.ts';

export interface DnsProxyOptions {
  /** 0 chooses a free one, the same for UDP and TCP. */
  readonly port: number;
  /** Whom everything that is not the mesh's is asked. */
  readonly upstream: readonly UpstreamServer[];
  /** The names in force; undefined while none have come: everything is forwarded then. */
  readonly names: () => NameIndex | undefined;
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const LOOPBACK = '127.0.0.1';
const LOOPBACK_V6 = '::1';
/** Questions that wait for an upstream. Above it the answer is SERVFAIL at once: who asks so much would not be served by waiting either. */
const MAX_FORWARDED = 1000;
const MAX_CONNECTIONS = 256;
const IDLE_MS = 30_000;

/**
 * Answers DNS questions that iptables leads here: names of the mesh from the name table, everything else from the servers that the
 * machine has. Source: istio pkg/dns/client (1.32).
 */
export class DnsProxy implements Running {
  readonly #options: DnsProxyOptions;
  readonly #resolver: UpstreamResolver;
  readonly #udp: UdpSocket[] = [];
  readonly #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();
  #forwarded = 0;
  #port = 0;
  #lastFailure = '';

  constructor(options: DnsProxyOptions) {
    this.#options = options;
    const isOwn = ({ host, port }: UpstreamServer): boolean => port === options.port && (host === LOOPBACK || host === LOOPBACK_V6);
    const servers = options.upstream.filter((server) => !isOwn(server));
    this.#resolver = new UpstreamResolver({ servers, clock: options.clock });
  }

  get port(): number {
    return this.#port;
  }

  /** Throws MIZZEN_PORT_IN_USE or MIZZEN_ADDRESS. */
  async start(): Promise<void> {
    try {
      this.#port = await this.#listenTcp(LOOPBACK, this.#options.port);
      await this.#listenUdp(LOOPBACK, this.#port);
      await this.#listenV6();
    } catch (thrown) {
      await this.close();
      throw thrown;
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await Promise.all([
      ...this.#udp.splice(0).map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
      ...this.#tcp.splice(0).map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    ]);
  }

  /** The answer to one packet; undefined for what is no question. */
  async answer(bytes: Buffer, transport: DnsTransport): Promise<Buffer | undefined> {
    const { metrics, names, random } = this.#options;
    metrics.countDnsRequest();
    const query = parseQuery(bytes);
    if (query === undefined) {
      metrics.countDnsMalformed();
      return undefined;
    }
    if (!query.isSupported) return encodeRcode(query, query.question.length === 0 ? RCODE.formatError : RCODE.notImplemented);
    const index = names();
    const records = index?.lookup(query.name, query.type);
    const answer = records === undefined ? await this.#forward(query, transport, index) : encodeAnswer(query, rotate(records, random));
    return transport === 'udp' ? fitUdp(query, answer) : answer;
  }

  async #forward(query: DnsQuery, transport: DnsTransport, index: NameIndex | undefined): Promise<Buffer> {
    const { metrics, clock } = this.#options;
    if (this.#forwarded >= MAX_FORWARDED) {
      metrics.countDnsUpstreamFailure();
      return encodeRcode(query, RCODE.serverFailure);
    }
    metrics.countDnsUpstreamRequest();
    this.#forwarded++;
    const startedAt = clock.monotonic();
    try {
      const answer = await this.#resolver.resolve(query, transport);
      this.#lastFailure = '';
      // The name is there; only a record of this type is not. To say that it is not may make the asker give up on its addresses as well.
      const isDenied = rcodeOf(answer) === RCODE.nameError && index?.knows(query.name) === true;
      return isDenied ? encodeAnswer(query, []) : answer;
    } catch (thrown) {
      this.#reportFailure(errorMessage(thrown));
      return encodeRcode(query, RCODE.serverFailure);
    } finally {
      this.#forwarded--;
      metrics.observeDnsUpstreamMs(clock.monotonic() - startedAt);
    }
  }

  #reportFailure(reason: string): void {
    this.#options.metrics.countDnsUpstreamFailure();
    if (reason === this.#lastFailure) return;
    this.#lastFailure = reason;
    this.#options.logger.warn({ reason }, 'no DNS server answers; see the nameservers of resolv.conf');
  }

  // Programs with IPv6 resolvers are led to [::1]. A machine without IPv6 has none.
  async #listenV6(): Promise<void> {
    try {
      await this.#listenTcp(LOOPBACK_V6, this.#port);
      await this.#listenUdp(LOOPBACK_V6, this.#port);
    } catch (thrown) {
      this.#options.logger.debug({ reason: errorMessage(thrown) }, 'DNS is not served over IPv6');
    }
  }

  async #listenTcp(host: string, port: number): Promise<number> {
    const server = createServer((socket) => this.#serve(socket));
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(error, joinHostPort(host, port), 'the DNS proxy')));
      server.listen(port, host, resolve);
    });
    this.#tcp.push(server);
    return (server.address() as AddressInfo).port;
  }

  async #listenUdp(host: string, port: number): Promise<void> {
    const socket = createSocket(host === LOOPBACK_V6 ? 'udp6' : 'udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) => reject(listenError(error, joinHostPort(host, port), 'the DNS proxy')));
      socket.bind(port, host, resolve);
    });
    socket.removeAllListeners('error');
    socket.on('error', (error) => this.#options.logger.debug({ code: errorCode(error) }, 'a DNS answer could not be sent'));
    socket.on('message', (bytes, from) => {
      this.answer(bytes, 'udp')
        .then((answer) => {
          if (answer !== undefined && this.#udp.includes(socket)) socket.send(answer, from.port, from.address);
        })
        .catch((thrown: unknown) => this.#reportMistake(thrown));
    });
    this.#udp.push(socket);
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#connections.delete(socket));
    readDnsStream(socket, (message) => {
      this.answer(message, 'tcp')
        .then((answer) => {
          if (answer === undefined) socket.destroy();
          else if (!socket.destroyed) socket.write(framed(answer));
        })
        .catch((thrown: unknown) => {
          socket.destroy();
          this.#reportMistake(thrown);
        });
    });
  }

  /** Whoever asks, such as from port 0, must not be able to end the process. */
  #reportMistake(thrown: unknown): void {
    this.#options.logger.error({ err: thrown }, 'a DNS question could not be answered');
  }
}

/** Starts the addresses at another one each time, so that those who take the first are spread. What is no address stays in front. */
function rotate(records: readonly NameRecord[], random: Random): readonly NameRecord[] {
  const addresses = records.filter((record) => 'address' in record);
  if (addresses.length < 2) return records;
  const start = Math.floor(random() * addresses.length);
  return [...records.filter((record) => !('address' in record)), ...addresses.slice(start), ...addresses.slice(0, start)];
}
