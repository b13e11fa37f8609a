import type { Clock } from '@mizzen/core';
import type { StreamInfo } from '@mizzen/telemetry';
import { addressText } from '../config/values.ts';
import type { DownstreamConnection } from '../contract.ts';
import { tlsFactsOf } from './tls-facts.ts';

const noHeader = (): undefined => undefined;

/** A StreamInfo for a connection that nothing is known of yet but where it comes from. */
export function createStreamInfo(connection: DownstreamConnection, clock: Clock): StreamInfo {
  const { tls } = connection;
  const metadata = connection.filterState?.dynamicMetadata;
  return {
    startTimeMs: clock.now(),
    startMonotonicMs: clock.monotonic(),
    protocol: '',
    method: '',
    path: '',
    originalPath: '',
    authority: '',
    scheme: '',
    requestHeader: noHeader,
    responseHeader: noHeader,
    responseTrailer: noHeader,
    responseCode: 0,
    responseCodeDetails: '',
    connectionTerminationDetails: '',
    flags: [],
    bytesReceived: 0,
    bytesSent: 0,
    wireBytesReceived: 0,
    wireBytesSent: 0,
    endMonotonicMs: 0,
    upstreamRequestSentMs: 0,
    upstreamResponseStartMs: 0,
    upstreamAttempts: 0,
    routeName: '',
    operation: '',
    virtualHostName: '',
    upstreamCluster: '',
    upstreamHost: '',
    upstreamLocalAddress: '',
    upstreamTransportFailureReason: '',
    upstreamPeerUriSan: '',
    downstreamPeerUriSan: tls?.peer?.uriSans[0] ?? '',
    downstreamLocalUriSan: tls?.localUriSan ?? '',
    upstreamLocalUriSan: '',
    downstreamLocalAddress: addressText(connection.localAddress),
    downstreamRemoteAddress: addressText(connection.remoteAddress),
    requestedServerName: connection.requestedServerName ?? tls?.requestedServerName ?? '',
    isDownstreamMtls: tls?.peer !== undefined,
    destinationService: undefined,
    peer: undefined,
    grpcStatus: '',
    traceId: '',
    requestId: '',
    dynamicMetadata: metadata === undefined ? undefined : new Map(Object.entries(metadata)),
    connectionId: connection.id,
    downstreamDirectRemoteAddress: addressText(connection.remoteAddress),
    downstreamDirectLocalAddress: connection.directLocalAddress === undefined ? '' : addressText(connection.directLocalAddress),
    filterChainName: connection.filterChainName ?? '',
    filterStateObject: (key) => connection.filterState?.objects?.get(key)?.value,
    downstreamTls: () => tlsFactsOf(connection),
  };
}
