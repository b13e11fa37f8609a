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
/** A body grew beyond what is kept while the next try was waited for. Source: envoy Filter::decodeData (1.40). */
export const REQUEST_TOO_LARGE_TO_RETRY: LocalReply = {
  status: 507,
  details: 'request_payload_exceeded_retry_buffer_limit',
  flag: undefined,
  body: 'exceeded request buffer limit while retrying upstream',
};

/** The route's timeout passed. `isAlternative`: the caller asked for 204 in the place of 504. */
export function responseTimeout(isAlternative: boolean): LocalReply {
  return timeoutReply('response_timeout', isAlternative);
}

/** `details` says which of the limits of a try passed. */
export function perTryTimeout(details: string, isAlternative: boolean): LocalReply {
  return timeoutReply(details, isAlternative);
}

function timeoutReply(details: string, isAlternative: boolean): LocalReply {
  return {
    status: isAlternative ? 204 : 504,
    details,
    flag: 'upstreamRequestTimeout',
    body: isAlternative ? '' : 'upstream request timeout',
  };
}

export const UPGRADE_REFUSED: LocalReply = { status: 403, details: 'upgrade_failed', flag: undefined, body: '' };

// How Envoy calls them, in bodies and (with underscores) in details. Source: envoy Http::Utility::resetReasonToString (1.40).
const RESET_TEXT: Readonly<Record<ResetReason, string>> = {
  'connection-failure': 'remote connection failure',
  'connection-timeout': 'connection timeout',
  'connection-termination': 'connection termination',
  'remote-reset': 'remote reset',
  'remote-refused': 'remote refused stream reset',
  'local-reset': 'local reset',
  overflow: 'overflow',
  'protocol-error': 'protocol error',
};

const RESET_FLAG: Readonly<Record<ResetReason, ResponseFlag>> = {
  'connection-failure': 'upstreamConnectionFailure',
  'connection-timeout': 'upstreamConnectionFailure',
  'connection-termination': 'upstreamConnectionTermination',
  'remote-reset': 'upstreamRemoteReset',
  'remote-refused': 'upstreamRemoteReset',
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
export function resetReply(
  reason: ResetReason,
  how: { readonly transportFailure: string; readonly hasRetried: boolean; readonly tellsOverload: boolean },
): LocalReply {
  const retried = how.hasRetried ? 'retried and the latest ' : '';
  return {
    status: reason === 'protocol-error' ? 502 : 503,
    details: `upstream_reset_before_response_started{${resetDetails(reason, how.transportFailure)}}`,
    flag: RESET_FLAG[reason],
    body: `upstream connect error or disconnect/reset before headers. ${retried}reset reason: ${RESET_TEXT[reason]}`,
    ...(reason === 'overflow' && how.tellsOverload ? { headers: [['x-envoy-overloaded', 'true'] as const] } : {}),
  };
}

export function clusterNotFound(status: number): LocalReply {
  return { status, details: 'cluster_not_found', flag: 'noClusterFound', body: '' };
}

/** The control plane has a share of a cluster's requests dropped. Source: envoy Filter::checkDropOverload (1.40). */
export function dropOverload(tellsOverload: boolean): LocalReply {
  return {
    status: 503,
    details: 'drop_overload',
    flag: 'dropOverload',
    body: 'drop overload',
    ...(tellsOverload ? { headers: [['x-envoy-drop-overload', 'true'] as const] } : {}),
  };
}
