import { availableParallelism } from 'node:os';
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { type Clock, delay, joinHostPort, type Logger, listenError, type Running, Watchable } from '@mizzen/core';
import type { Connection } from './connection.ts';
import type { ConnectedNode, ConnectionStatus, XdsServerEvents } from './events.ts';
import type { XdsGenerator } from './generator.ts';
import { PushSlots } from './push-slots.ts';
import { adsServiceDefinition, type DeltaCall, type SotwCall } from './service.ts';
import { type Authorize, deltaProtocol, type Identify, type StreamContext, serveStream, sotwProtocol } from './stream.ts';

export interface XdsServerOptions {
  readonly generator: XdsGenerator;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default: whoever has an identity, or came to an address without credentials, may have the configuration of the node that it names. */
  readonly authorize?: Authorize;
  /** Reads the identity of a client of an address with credentials. Default: nobody has one. */
  readonly identify?: Identify;
  readonly events?: XdsServerEvents;
  /** Responses being written at once. Default min(15 + 5 per core, 100): Istio's PILOT_PUSH_THROTTLE. */
  readonly maxPushesInFlight?: number;
  /** Listeners and routes wait for the answer to the clusters and endpoints before them for so long. Default 5,000. */
  readonly orderWaitMs?: number;
  /** A client that does not read gives its place up after so long. Default 2,000. */
  readonly slotLeaseMs?: number;
  /** A response that is not answered for so long makes its type stale. Default 5,000. */
  readonly staleAfterMs?: number;
}

export interface PushChange {
  /** Grows with every push. */
  readonly revision: number;
  readonly typeUrls: ReadonlySet<string> | 'all';
}

export interface XdsServer extends Running {
  /** Serves on one more address; port 0 is any free one. Resolves with the real port. Throws MIZZEN_PORT_IN_USE, MIZZEN_ADDRESS. */
  listen(at: { host: string; port: number; credentials?: ServerCredentials }): Promise<number>;
  /** Tells every stream that the state changed. Each is sent what is different for it, if anything. */
  push(change: PushChange): void;
  /** Answers nothing of these types until the returned function is called. */
  hold(typeUrls: Iterable<string>): () => void;
  /** The streams that are open, in the order in which they were opened. */
  status(): readonly ConnectionStatus[];
  /** Ends the streams of a node as if the connection had failed. Returns how many there were. */
  disconnect(nodeId: string): number;
  /** Counts up whenever the status of a stream changed: what tests and reports wait on. */
  readonly activity: Watchable<number>;
}

// Large meshes: a delta request lists every name that the client holds (20,000 names of 60 bytes are 1.2 MB).
const MAX_REQUEST_BYTES = 16 * 1024 * 1024;
const CLOSE_DEADLINE_MS = 2_000;

const CHANNEL_OPTIONS = {
  'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
  'grpc.max_send_message_length': -1,
  // Istio's 30 s and 10 s: a peer that vanished without closing is noticed within 40 s.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc-node.max_session_memory': Number.MAX_SAFE_INTEGER,
} as const;

/** The aggregated discovery service, both protocols on every address that it listens on. Does nothing until `listen`. */
export function createXdsServer(options: XdsServerOptions): XdsServer {
  const { clock, logger } = options;
  const connections = new Map<Connection, (reason: string) => void>();
  const holds = new Map<string, number>();
  const held = new Set<string>();
  const activity = new Watchable(0);
  let revision = 0;
  let nextConnectionId = 1;

  const context: Omit<StreamContext, 'origin'> = {
    generator: options.generator,
    events: options.events ?? {},
    slots: new PushSlots(options.maxPushesInFlight ?? Math.min(15 + 5 * availableParallelism(), 100)),
    clock,
    logger,
    held,
    revision: () => revision,
    touched: () => activity.set(activity.value + 1),
    orderWaitMs: options.orderWaitMs ?? 5_000,
    slotLeaseMs: options.slotLeaseMs ?? 2_000,
    authorize: options.authorize ?? authorizeProven,
    newConnectionId: () => `${nextConnectionId++}`,
    opened: (connection, end) => void connections.set(connection, end),
    closed: (connection) => void connections.delete(connection),
  };

  const servers: Server[] = [];

  return {
    activity,
    listen({ host, port, credentials }) {
      const server = new Server(CHANNEL_OPTIONS);
      const origin = { isSecure: credentials !== undefined, identify: options.identify ?? (() => undefined) };
      server.addService(adsServiceDefinition, {
        streamAggregatedResources: (call: SotwCall) => serveStream(call, sotwProtocol, { ...context, origin }),
        deltaAggregatedResources: (call: DeltaCall) => serveStream(call, deltaProtocol, { ...context, origin }),
      });
      servers.push(server);
      return bind(server, joinHostPort(host, port), credentials ?? ServerCredentials.createInsecure());
    },

    push(change) {
      revision = change.revision;
      for (const connection of connections.keys()) connection.push(change);
    },

    hold(typeUrls) {
      const mine = [...typeUrls];
      for (const typeUrl of mine) {
        holds.set(typeUrl, (holds.get(typeUrl) ?? 0) + 1);
        held.add(typeUrl);
      }
      return () => {
        for (const typeUrl of mine.splice(0)) {
          const left = (holds.get(typeUrl) ?? 1) - 1;
          holds.set(typeUrl, left);
          if (left === 0) held.delete(typeUrl);
        }
        for (const connection of connections.keys()) connection.pump();
      };
    },

    status: () => Array.from(connections.keys(), (connection) => connection.status(options.staleAfterMs ?? 5_000)),

    disconnect(nodeId) {
      const matching = [...connections].filter(([connection]) => connection.connected.node.id === nodeId);
      for (const [, end] of matching) end('disconnected by the operator');
      return matching.length;
    },

    async close() {
      for (const end of [...connections.values()]) end('the control plane is closing');
      await Promise.all(servers.map((server) => shutdown(server, clock)));
    },
  };
}

/** Keeps grpc-js from writing text to standard error, for the whole process. Every error that it would print is thrown as well. */
export function muteGrpcLog(): void {
  setLogVerbosity(logVerbosity.NONE);
}

function authorizeProven(connected: ConnectedNode): ReturnType<Authorize> {
  if (!connected.isSecure || connected.identity !== undefined) return { isAllowed: true };
  return { isAllowed: false, reason: 'the client certificate carries no valid identity' };
}

async function shutdown(server: Server, clock: Clock): Promise<void> {
  await Promise.race([new Promise<void>((resolve) => server.tryShutdown(() => resolve())), delay(clock, CLOSE_DEADLINE_MS)]);
  server.forceShutdown();
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (thrown, port) => {
      if (thrown) reject(listenError(asSystemError(thrown), address, 'xds'));
      else resolve(port);
    });
  });
}

// grpc-js gives the system's code in the text only: "No address added out of total 1 resolved errors: [listen EADDRINUSE: …]".
function asSystemError(thrown: Error): Error {
  const code = /\b(EADDRINUSE|EACCES|EADDRNOTAVAIL|ENOTFOUND)\b/.exec(thrown.message)?.[1];
  return code ? Object.assign(new Error(thrown.message, { cause: thrown }), { code }) : thrown;
}
