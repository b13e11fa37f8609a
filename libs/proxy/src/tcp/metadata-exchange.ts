import type { Socket } from 'node:net';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema, StructSchema, ValueSchema } from '@bufbuild/protobuf/wkt';
import { decodePeerMetadata, type PeerMetadata } from '@mizzen/telemetry';
import { type MetadataExchange, MetadataExchangeSchema } from '@mizzen/xds-api/envoy/tcp/metadataexchange/config/metadata_exchange';
import { ConfigError } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import type { ProxyContext } from '../contract.ts';
import type { GateEntry, NetworkGate } from '../listener/network-gate.ts';
import type { GateEnvironment } from '../listener/network-gates.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';

// What goes before the bytes of the connection, each way: magic, length, a google.protobuf.Any that holds a Struct.
// Source: istio/proxy source/extensions/filters/network/metadata_exchange (1.32 dev).
const MAGIC = 0x3d230467;
const HEADER_BYTES = 8;
const STRUCT_TYPE = 'type.googleapis.com/google.protobuf.Struct';
const METADATA_KEY = 'x-envoy-peer-metadata';
const ID_KEY = 'x-envoy-peer-metadata-id';
/** More than the metadata of a pod with many labels; a peer that announces more is not waited for. */
const MAX_METADATA_BYTES = 64 * 1024;

const METADATA_EXCHANGE_STATS = defineStats({
  counters: {
    alpnProtocolFound: 'alpn_protocol_found',
    alpnProtocolNotFound: 'alpn_protocol_not_found',
    initialHeaderNotFound: 'initial_header_not_found',
    headerNotFound: 'header_not_found',
    metadataAdded: 'metadata_added',
  },
});
export type MetadataExchangeStats = Counts<typeof METADATA_EXCHANGE_STATS>;

/**
 * Throws ConfigError. The ALPN protocol under which the exchange is done. `enable_discovery`, which Istio always
 * sets, asks workload discovery too; this proxy has none, so nothing is found there, as in Istio's where METADATA_DISCOVERY is off (the default).
 */
export function exchangeProtocol(message: MetadataExchange): string {
  refuseUnsupportedFields(MetadataExchangeSchema, message, {
    supported: { [MetadataExchangeSchema.typeName]: ['protocol', 'enable_discovery'] },
  });
  if (message.protocol === '') throw new ConfigError('protocol', 'is required: the ALPN protocol, as istio-peer-exchange');
  return message.protocol;
}

/** The server's side: on connections that agreed to the protocol, each end tells the other first who it is. */
export class MetadataExchangeGate implements NetworkGate {
  readonly #protocol: string;
  readonly #side: ExchangeSide;

  /** Throws ConfigError. */
  constructor(message: MetadataExchange, { proxy }: GateEnvironment) {
    this.#protocol = exchangeProtocol(message);
    this.#side = exchangeSideOf(proxy);
  }

  onConnection(entry: GateEntry): 'pass' | 'wait' {
    const { connection } = entry;
    if (connection.tls?.alpn !== this.#protocol) {
      this.#side.stats.alpnProtocolNotFound++;
      return 'pass';
    }
    exchangeMetadata(connection.socket, this.#side, {
      onDone(peer) {
        if (peer !== undefined) connection.filterState.peer = peer;
        entry.pass();
      },
      onFailed: (details) => entry.refuse(details),
    });
    return 'wait';
  }
}

/** What is the same for all exchanges of a process. */
export interface ExchangeSide {
  /** What it tells of itself. */
  readonly own: Buffer;
  readonly stats: MetadataExchangeStats;
}

const sides = new WeakMap<ExchangeContext, ExchangeSide>();

export type ExchangeContext = Pick<ProxyContext, 'localPeer' | 'stats'>;

export function exchangeSideOf(context: ExchangeContext): ExchangeSide {
  let side = sides.get(context);
  if (side === undefined) {
    const stats = context.stats.counts(METADATA_EXCHANGE_STATS, { prefix: 'metadata_exchange' });
    side = { own: encodeMetadata(context.localPeer), stats };
    sides.set(context, side);
  }
  return side;
}

/** What this side sends. */
export function encodeMetadata({ nodeId, metadataHeader }: ProxyContext['localPeer']): Buffer {
  const metadata = fromBinary(StructSchema, Buffer.from(metadataHeader, 'base64'));
  const struct = create(StructSchema, {
    fields: {
      [METADATA_KEY]: create(ValueSchema, { kind: { case: 'structValue', value: metadata } }),
      [ID_KEY]: create(ValueSchema, { kind: { case: 'stringValue', value: nodeId } }),
    },
  });
  const body = toBinary(AnySchema, create(AnySchema, { typeUrl: STRUCT_TYPE, value: toBinary(StructSchema, struct) }));
  const bytes = Buffer.alloc(HEADER_BYTES + body.length);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(body.length, 4);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

export interface ExchangeOptions {
  /** The socket is paused and what follows the metadata is back in it; undefined where the peer told nothing that can be read. */
  onDone(peer: PeerMetadata | undefined): void;
  onFailed(details: string): void;
}

/**
 * Sends what this side tells and reads what the peer does. Both ends send at once, so neither waits for the other. A peer that agreed to the
 * protocol and begins with other bytes is served without metadata, as Istio does.
 */
export function exchangeMetadata(socket: Socket, { own, stats }: ExchangeSide, options: ExchangeOptions): void {
  let received: Buffer = Buffer.alloc(0);
  stats.alpnProtocolFound++;
  const stop = (): void => {
    socket.removeListener('data', onData);
    socket.removeListener('end', onEnd);
    socket.removeListener('close', stop);
    socket.pause();
  };
  const finish = (peer: PeerMetadata | undefined, rest: Buffer): void => {
    stop();
    if (rest.length > 0) socket.unshift(rest);
    options.onDone(peer);
  };
  const onData = (chunk: Buffer): void => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const parsed = parseMetadata(received);
    switch (parsed.kind) {
      case 'incomplete':
        return;
      case 'absent':
        stats.initialHeaderNotFound++;
        finish(undefined, received);
        return;
      case 'invalid':
        stats.headerNotFound++;
        stop();
        options.onFailed(`metadata_exchange_${parsed.reason}`);
        return;
      case 'found':
        finish(parsed.peer, received.subarray(parsed.bytes));
    }
  };
  const onEnd = (): void => {
    // It tells nothing any more: what it sent is passed on, and its end.
    stats.initialHeaderNotFound++;
    finish(undefined, received);
  };
  socket.on('data', onData);
  socket.once('end', onEnd);
  socket.once('close', stop);
  socket.write(own);
  stats.metadataAdded++;
  socket.resume();
}

export type ParsedMetadata =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'invalid'; readonly reason: string }
  | { readonly kind: 'found'; readonly peer: PeerMetadata | undefined; readonly bytes: number };

/** Reads the metadata that `bytes` may begin with. Never throws. */
export function parseMetadata(bytes: Buffer): ParsedMetadata {
  const magic = Buffer.from([MAGIC >>> 24, (MAGIC >>> 16) & 255, (MAGIC >>> 8) & 255, MAGIC & 255]);
  if (!magic.subarray(0, bytes.length).equals(bytes.subarray(0, 4))) return { kind: 'absent' };
  if (bytes.length < HEADER_BYTES) return { kind: 'incomplete' };
  const end = HEADER_BYTES + bytes.readUInt32BE(4);
  if (end > HEADER_BYTES + MAX_METADATA_BYTES) return { kind: 'invalid', reason: 'too_large' };
  if (bytes.length < end) return { kind: 'incomplete' };
  try {
    const any = fromBinary(AnySchema, bytes.subarray(HEADER_BYTES, end));
    if (any.typeUrl !== STRUCT_TYPE) return { kind: 'found', peer: undefined, bytes: end };
    const metadata = fromBinary(StructSchema, any.value).fields[METADATA_KEY];
    if (metadata?.kind.case !== 'structValue') return { kind: 'found', peer: undefined, bytes: end };
    const encoded = Buffer.from(toBinary(StructSchema, metadata.kind.value)).toString('base64');
    return { kind: 'found', peer: decodePeerMetadata(encoded), bytes: end };
  } catch {
    return { kind: 'invalid', reason: 'not_readable' };
  }
}
