import { type Counts, defineStats, type StatRegistry, zeroCounts } from '../observe/stat-registry.ts';

/** What the codec counts of the connections of clients, as `http2.<name>`. Source: envoy Http2::CodecStats (1.40). */
export const HTTP2_STATS = defineStats({
  counters: {
    goawaySent: 'goaway_sent',
    goawayGracefulSent: 'goaway_graceful_sent',
    headerOverflow: 'header_overflow',
    headerListSizeTooLarge: 'header_list_size_too_large',
    headersCbNoStream: 'headers_cb_no_stream',
    inboundEmptyFramesFlood: 'inbound_empty_frames_flood',
    inboundPriorityFramesFlood: 'inbound_priority_frames_flood',
    inboundWindowUpdateFramesFlood: 'inbound_window_update_frames_flood',
    // Header blocks of more frames than are taken; Envoy has it in no counter.
    inboundContinuationFramesFlood: 'inbound_continuation_frames_flood',
    keepaliveTimeout: 'keepalive_timeout',
    outboundControlFlood: 'outbound_control_flood',
    outboundFlood: 'outbound_flood',
    rxMessagingError: 'rx_messaging_error',
    rxReset: 'rx_reset',
    streamRefusedErrors: 'stream_refused_errors',
    trailers: 'trailers',
    txFlushTimeout: 'tx_flush_timeout',
    txReset: 'tx_reset',
    // Connections closed because most of their requests were reset at once; the connection manager counts them too.
    tooManyPrematureResets: 'too_many_premature_resets',
  },
  gauges: {
    streamsActive: 'streams_active',
    // What waits in the codec for a window.
    pendingSendBytes: 'pending_send_bytes',
  },
});

export type Http2Stats = Counts<typeof HTTP2_STATS>;

/** The same of the connections to a cluster, below `cluster.<name>`. */
export const UPSTREAM_HTTP2_STATS: typeof HTTP2_STATS = defineStats({
  counters: below('http2', HTTP2_STATS.counters),
  gauges: below('http2', HTTP2_STATS.gauges),
});

/** Field names stay, as types have them. */
function below<N extends Readonly<Record<string, string>>>(prefix: string, names: N): N {
  return Object.fromEntries(Object.entries(names).map(([field, name]) => [field, `${prefix}.${name}`])) as N;
}

export function createHttp2Stats(): Http2Stats {
  return zeroCounts(HTTP2_STATS);
}

/** All connections of clients count together, as in Envoy. */
export function downstreamHttp2Stats(registry: StatRegistry): Http2Stats {
  return registry.counts(HTTP2_STATS, { prefix: 'http2' });
}
