import { isHttp, isHttp2, type Protocol } from '@mizzen/model';
import type { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import {
  HttpProtocolOptionsSchema,
  type HttpProtocolOptionsSchema as OptionsSchema,
} from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { any, duration, type Init, optionalDuration, parseDuration, present } from '../messages.ts';
import type { PortPolicy } from './traffic-policy.ts';

type ClusterInit = Init<typeof ClusterSchema>;
type Pool = NonNullable<PortPolicy['connectionPool']>;

const HTTP_OPTIONS_KEY = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const NO_LIMIT = 2 ** 32 - 1;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Source: istio pilot/pkg/networking/core/cluster.go (1.32 dev). */
const DEFAULT_CONCURRENT_STREAMS = 1_073_741_824;

/** Limits, timeouts and the HTTP version towards the upstream. Zero counts as unset, as in Istio. */
export function connectionPoolFields(
  pool: Pool | undefined,
  context: { protocol: Protocol; meshConnectTimeout: string | undefined; isCaptured?: boolean },
): ClusterInit {
  const tcp = pool?.tcp;
  const connectTimeoutMs = parseDuration(tcp?.connectTimeout) ?? parseDuration(context.meshConnectTimeout) ?? DEFAULT_CONNECT_TIMEOUT_MS;
  const options = httpOptions(pool, context);
  const keepalive = tcp?.tcpKeepalive;
  return {
    connectTimeout: duration(connectTimeoutMs),
    circuitBreakers: { thresholds: [thresholds(pool)] },
    ...(keepalive && {
      upstreamConnectionOptions: {
        tcpKeepalive: present({
          keepaliveProbes: keepalive.probes,
          keepaliveTime: wholeSeconds(keepalive.time),
          keepaliveInterval: wholeSeconds(keepalive.interval),
        }),
      },
    }),
    ...(options && { typedExtensionProtocolOptions: { [HTTP_OPTIONS_KEY]: any(HttpProtocolOptionsSchema, options) } }),
  };
}

function thresholds(pool: Pool | undefined) {
  const { tcp, http } = pool ?? {};
  return {
    maxConnections: tcp?.maxConnections || NO_LIMIT,
    maxPendingRequests: http?.http1MaxPendingRequests || NO_LIMIT,
    maxRequests: http?.http2MaxRequests || NO_LIMIT,
    maxRetries: http?.maxRetries || NO_LIMIT,
    trackRemaining: true,
  };
}

function wholeSeconds(text: string | undefined): number | undefined {
  const milliseconds = parseDuration(text);
  return milliseconds === undefined ? undefined : Math.max(1, Math.round(milliseconds / 1000));
}

/**
 * Absent where the proxy's defaults do: HTTP/1.1 without limits. What is only detected as HTTP in captured traffic goes on in the version
 * in which it came. Source: istio cluster_builder.go setUpstreamProtocol (1.32 dev).
 */
function httpOptions(
  pool: Pool | undefined,
  { protocol, isCaptured = false }: { protocol: Protocol; isCaptured?: boolean },
): Init<typeof OptionsSchema> | undefined {
  const isDetected = isCaptured && protocol === 'auto';
  if (!isHttp(protocol) && !isDetected) return undefined;
  const http = pool?.http;
  const common = present({
    idleTimeout: optionalDuration(http?.idleTimeout),
    maxRequestsPerConnection: http?.maxRequestsPerConnection || undefined,
    maxConnectionDuration: optionalDuration(pool?.tcp?.maxConnectionDuration),
  });
  const http2 = { maxConcurrentStreams: http?.maxConcurrentStreams || DEFAULT_CONCURRENT_STREAMS };
  const hasCommon = Object.keys(common).length > 0;
  const isUpgraded = isHttp2(protocol) || http?.h2UpgradePolicy === 'UPGRADE';
  const followsClient = http?.useClientProtocol || (isDetected && !isUpgraded);
  if (!hasCommon && !isUpgraded && !followsClient) return undefined;
  return {
    ...(hasCommon && { commonHttpProtocolOptions: common }),
    upstreamProtocolOptions: followsClient
      ? { case: 'useDownstreamProtocolConfig', value: { httpProtocolOptions: {}, http2ProtocolOptions: http2 } }
      : {
          case: 'explicitHttpConfig',
          value: {
            protocolConfig: isUpgraded ? { case: 'http2ProtocolOptions', value: http2 } : { case: 'httpProtocolOptions', value: {} },
          },
        },
  };
}
