import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { AttemptedHost, UpstreamFacts } from '@mizzen/telemetry';
import type { UpstreamEndpoint } from '../contract.ts';
import type { UpstreamAttempt } from '../http/upstream-attempt.ts';
import { connectionTimesOf } from './connection-times.ts';
import { tlsFactsOfSocket } from './tls-facts.ts';

/** What is known of the tries of a request: made when somebody asks. Only tries that had a connection count as tried hosts, as in Envoy. */
export function factsOfAttempts(last: UpstreamAttempt, earlier: readonly UpstreamAttempt[]): UpstreamFacts {
  const connected = last.stream === undefined ? earlier : [...earlier, last];
  return {
    protocol: last.stream?.protocol ?? '',
    hostname: last.endpoint.hostname,
    attempted: connected.map(({ endpoint }) => attemptedHost(endpoint)),
    connectionIds: connected.map(({ stream }) => (stream === undefined ? 0 : idOf(stream.socket))),
    sentWireBytes: last.sentWireBytes,
    sentHeaderBytes: last.sentHeaderBytes,
    receivedWireBytes: last.receivedWireBytes,
    receivedHeaderBytes: last.receivedHeaderBytes,
    requestedMs: last.startedMs,
    responseEndMs: last.endedMs,
    ...factsOfConnection(last.stream?.socket),
  };
}

/** The same of a TCP connection, whose tries are its endpoints. */
export function factsOfConnect(facts: {
  readonly endpoints: readonly UpstreamEndpoint[];
  readonly socket: Socket | undefined;
  readonly requestedMs: number;
}): UpstreamFacts {
  const { endpoints, socket, requestedMs } = facts;
  return {
    protocol: '',
    hostname: endpoints.at(-1)?.hostname ?? '',
    attempted: endpoints.map(attemptedHost),
    connectionIds: socket === undefined ? [] : [idOf(socket)],
    sentWireBytes: socket?.bytesWritten ?? 0,
    sentHeaderBytes: 0,
    receivedWireBytes: socket?.bytesRead ?? 0,
    receivedHeaderBytes: 0,
    requestedMs,
    responseEndMs: 0,
    ...factsOfConnection(socket),
  };
}

function attemptedHost({ addressText, hostname }: UpstreamEndpoint): AttemptedHost {
  return { address: addressText, hostname };
}

function idOf(socket: Socket): number {
  return connectionTimesOf(socket)?.id ?? 0;
}

function factsOfConnection(socket: Socket | undefined) {
  const times = socket === undefined ? undefined : connectionTimesOf(socket);
  return {
    connectStartMs: times?.startMs ?? 0,
    connectedMs: times?.connectedMs ?? 0,
    securedMs: times?.securedMs ?? 0,
    tls: () => (socket === undefined ? undefined : tlsFactsOfSocket(socket)),
    serverName: () => serverNameOf(socket),
  };
}

function serverNameOf(socket: Socket | undefined): string {
  const name = (socket as (TLSSocket & { readonly servername?: string | false }) | undefined)?.servername;
  return typeof name === 'string' ? name : '';
}
