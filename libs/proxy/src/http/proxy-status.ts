import type { Field } from '@mizzen/matching';
import { RESPONSE_FLAG, type ResponseFlag } from '@mizzen/telemetry';
import type { HttpConnectionManager_ProxyStatusConfig } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import type { HttpStreamInfo } from './stream-info.ts';

/** What a response says of what went wrong on its way: a header of RFC 9209, and the status that this document recommends. */
export interface ProxyStatus {
  readonly value: string;
  /** undefined: the status stays. */
  readonly status: number | undefined;
}

/** undefined where nothing went wrong. */
export type ProxyStatusReader = (info: HttpStreamInfo) => ProxyStatus | undefined;

/** Source: envoy ProxyStatusUtils::fromStreamInfo (1.40); the first flag that is set counts. */
const ERRORS: readonly (readonly [flag: ResponseFlag, error: string])[] = [
  ['failedLocalHealthCheck', 'destination_unavailable'],
  ['noHealthyUpstream', 'destination_unavailable'],
  ['upstreamRequestTimeout', 'http_response_timeout'],
  ['localReset', 'connection_timeout'],
  ['upstreamRemoteReset', 'connection_terminated'],
  ['upstreamConnectionFailure', 'connection_refused'],
  ['upstreamConnectionTermination', 'connection_terminated'],
  ['upstreamOverflow', 'connection_limit_reached'],
  ['noRouteFound', 'destination_not_found'],
  ['rateLimited', 'connection_limit_reached'],
  ['rateLimitServiceError', 'connection_limit_reached'],
  ['upstreamRetryLimitExceeded', 'destination_unavailable'],
  ['streamIdleTimeout', 'http_response_timeout'],
  ['invalidEnvoyRequestHeaders', 'http_request_error'],
  ['downstreamProtocolError', 'http_request_error'],
  ['upstreamMaxStreamDurationReached', 'http_response_timeout'],
  ['upstreamProtocolError', 'http_protocol_error'],
  ['noClusterFound', 'destination_unavailable'],
];

/** Source: RFC 9209 §2.3. */
const RECOMMENDED: Readonly<Record<string, number>> = {
  destination_unavailable: 503,
  destination_not_found: 500,
  connection_refused: 502,
  connection_terminated: 502,
  connection_timeout: 504,
  connection_limit_reached: 503,
  http_response_timeout: 504,
  http_protocol_error: 502,
};

export function compileProxyStatus(
  config: HttpConnectionManager_ProxyStatusConfig | undefined,
  names: { readonly nodeId: string; readonly serverName: string },
  field: Field,
): ProxyStatusReader | undefined {
  if (config === undefined) return undefined;
  const { proxyName } = config;
  const name =
    proxyName.case === 'literalProxyName'
      ? proxyName.value
      : proxyName.case === 'useNodeId' && proxyName.value
        ? names.nodeId
        : names.serverName;
  if (/["\\\r\n]/.test(name)) field.child('literal_proxy_name').reject('must not hold quotes, backslashes or line ends');
  return (info) => {
    const error = ERRORS.find(([flag]) => info.flags.includes(flag))?.[1];
    if (error === undefined) return undefined;
    const details = [
      config.removeDetails ? '' : info.responseCodeDetails,
      config.removeConnectionTerminationDetails ? '' : info.connectionTerminationDetails,
      config.removeResponseFlags ? '' : info.flags.map((flag) => RESPONSE_FLAG[flag]).join(','),
    ].filter((text) => text !== '');
    return {
      value: `${name}; error=${error}${details.length === 0 ? '' : `; details="${details.join('; ').replaceAll('"', "'")}"`}`,
      status: config.setRecommendedResponseCode ? RECOMMENDED[error] : undefined,
    };
  };
}
