import type { ResponseFlag } from '@mizzen/telemetry';
import type { ResetReason } from './stream.ts';

/** An answer that the proxy gives itself. */
export interface LocalReply {
  readonly status: number;
  readonly details: string;
  readonly flag: ResponseFlag | undefined;
  /** Plain text, '' for none. */
  readonly body: string | Buffer;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly grpcStatus?: number;
}

export const NO_ROUTE: LocalReply = { status: 404, details: 'route_not_found', flag: 'noRouteFound', body: '' };
/** `OPTIONS *`. Source: envoy ConnectionManagerImpl::ActiveStream::decodeHeaders (1.40). */
export const NO_PATH: LocalReply = { status: 404, details: 'absolute_path_rejected', flag: undefined, body: '' };
export const NO_HEALTHY_UPSTREAM: LocalReply = {
  status: 503,
  details: 'no_healthy_upstream',
  flag: 'noHealthyUpstream',
  body: 'no healthy upstream',
};
export const RESPONSE_TIMEOUT: LocalReply = {
  status: 504,
  details: 'upstream_response_timeout',
  flag: 'upstreamRequestTimeout',
  body: 'upstream request timeout',
};
export const PER_TRY_TIMEOUT: LocalReply = {
  status: 504,
  details: 'upstream_per_try_timeout',
  flag: 'upstreamRequestTimeout',
  body: 'upstream request timeout',
};
export const UPGRADE_REFUSED: LocalReply = { status: 403, details: 'upgrade_failed', flag: undefined, body: '' };

// How Envoy calls them, in bodies and (with underscores) in details. Source: envoy Http::Utility::resetReasonToString (1.40).
const RESET_TEXT: Readonly<Record<ResetReason, string>> = {
  'connection-failure': 'remote connection failure',
  'connection-timeout': 'connection timeout',
  'connection-termination': 'connection termination',
  'remote-reset': 'remote reset',
  'local-reset': 'local reset',
  overflow: 'overflow',
  'protocol-error': 'protocol error',
};

const RESET_FLAG: Readonly<Record<ResetReason, ResponseFlag>> = {
  'connection-failure': 'upstreamConnectionFailure',
  'connection-timeout': 'upstreamConnectionFailure',
  'connection-termination': 'upstreamConnectionTermination',
  'remote-reset': 'upstreamRemoteReset',
  'local-reset': 'localReset',
  overflow: 'upstreamOverflow',
  'protocol-error': 'upstreamProtocolError',
};

export function resetFlag(reason: ResetReason): ResponseFlag {
  return RESET_FLAG[reason];
}

/** As it stands behind `upstream_reset_…`: `connection_termination`, `remote_connection_failure|Connection_refused`. */
export function resetDetails(reason: ResetReason, transportFailure: string): string {
  const text = transportFailure === '' ? RESET_TEXT[reason] : `${RESET_TEXT[reason]}|${transportFailure}`;
  return text.replaceAll(/\s/g, '_');
}

/**
 * What the client is answered when the upstream was lost before its answer began. Why, in the words of the transport, is for the access log
 * only: clients have no business with addresses and certificates. Source: Envoy 1.40 on the same bootstrap.
 */
export function resetReply(reason: ResetReason, transportFailure: string, hasRetried: boolean): LocalReply {
  const retried = hasRetried ? 'retried and the latest ' : '';
  return {
    status: reason === 'protocol-error' ? 502 : 503,
    details: `upstream_reset_before_response_started{${resetDetails(reason, transportFailure)}}`,
    flag: RESET_FLAG[reason],
    body: `upstream connect error or disconnect/reset before headers. ${retried}reset reason: ${RESET_TEXT[reason]}`,
    ...(reason === 'overflow' ? { headers: [['x-envoy-overloaded', 'true'] as const] } : {}),
  };
}

export function clusterNotFound(status: number): LocalReply {
  return { status, details: 'cluster_not_found', flag: 'noClusterFound', body: '' };
}
