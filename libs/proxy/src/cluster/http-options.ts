import { unpackAny } from '@mizzen/xds-api';
import type { Cluster } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import {
  Http1ProtocolOptionsSchema,
  type Http2ProtocolOptions,
  HttpProtocolOptions_HeadersWithUnderscoresAction as UnderscoresAction,
  UpstreamHttpProtocolOptionsSchema,
} from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import type { HttpProtocolOptions } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { HttpProtocolOptionsSchema } from '@mizzen/xds-api/envoy/extensions/upstreams/http/v3/http_protocol_options';
import { ConfigError, collected, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { durationMs } from '../config/values.ts';
import type { ConnectionsByRequest, UpstreamProtocol } from '../contract.ts';
import { compileHttp2Options, DEFAULT_HEADER_LIMITS, type Http2Options } from '../http2/options.ts';

/** How HTTP is spoken to a cluster's endpoints. */
export interface ClusterHttpOptions {
  readonly upstreamProtocol: UpstreamProtocol;
  readonly maxRequestsPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionDurationMs: number;
  readonly http2: Http2Options & { readonly maxHeaderBytes: number; readonly maxHeaders: number };
  readonly serverNames: ServerNamesByRequest | undefined;
}

type ServerNamesByRequest = Pick<ConnectionsByRequest, 'setsServerName' | 'verifiesHost' | 'hostHeader'>;

const HTTP_OPTIONS = HttpProtocolOptionsSchema.typeName;
const PATH = `typed_extension_protocol_options["${HTTP_OPTIONS}"]`;
const HOUR_MS = 3_600_000;
const SUPPORTED = {
  [HTTP_OPTIONS]: [
    'common_http_protocol_options',
    'upstream_http_protocol_options',
    'explicit_http_config',
    'use_downstream_protocol_config',
    'auto_config',
  ],
  [UpstreamHttpProtocolOptionsSchema.typeName]: ['auto_sni', 'auto_san_validation', 'override_auto_sni_header'],
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig': ['http_protocol_options', 'http2_protocol_options'],
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig': ['http_protocol_options', 'http2_protocol_options'],
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig': ['http_protocol_options', 'http2_protocol_options'],
  [Http1ProtocolOptionsSchema.typeName]: [
    // Of the client's side only these have a meaning; the others are a server's.
    'enable_trailers',
    'allow_absolute_url',
    'accept_http_10',
    'default_host_for_http_10',
    'override_stream_error_on_invalid_http_message',
  ],
};

/** Throws ConfigError. */
export function compileHttpOptions(message: Cluster): ClusterHttpOptions {
  for (const name of Object.keys(message.typedExtensionProtocolOptions)) {
    if (name !== HTTP_OPTIONS)
      throw new ConfigError(`typed_extension_protocol_options["${name}"]`, 'is not supported by this proxy; remove it');
  }
  const any = message.typedExtensionProtocolOptions[HTTP_OPTIONS];
  const options = any === undefined ? undefined : within(PATH, () => unpackAny(any, HttpProtocolOptionsSchema));
  if (options !== undefined) refuseUnsupportedFields(HttpProtocolOptionsSchema, options, { supported: SUPPORTED, path: PATH });
  const common = options?.commonHttpProtocolOptions ?? message.commonHttpProtocolOptions;
  if (common !== undefined && common.headersWithUnderscoresAction !== UnderscoresAction.ALLOW)
    throw new ConfigError(
      `${PATH}.common_http_protocol_options.headers_with_underscores_action`,
      'is only for requests that come in; remove it',
    );
  return {
    ...protocolOf(options, message),
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? message.maxRequestsPerConnection ?? 0,
    idleTimeoutMs: durationMs(common?.idleTimeout, HOUR_MS),
    maxConnectionDurationMs: durationMs(common?.maxConnectionDuration, 0),
    serverNames: serverNamesOf(options ?? message),
  };

  function protocolOf(given: HttpProtocolOptions | undefined, cluster: Cluster): Pick<ClusterHttpOptions, 'upstreamProtocol' | 'http2'> {
    const { upstreamProtocol, http2, path } = chosenProtocol(given, cluster);
    const compiled = collected((field) => compileHttp2Options(http2, field), path);
    return {
      upstreamProtocol,
      http2: { ...compiled, ...DEFAULT_HEADER_LIMITS, maxHeaders: common?.maxHeadersCount ?? DEFAULT_HEADER_LIMITS.maxHeaders },
    };
  }
}

/** The older place of the field is the cluster itself. */
function serverNamesOf({ upstreamHttpProtocolOptions: given }: HttpProtocolOptions | Cluster): ServerNamesByRequest | undefined {
  if (given === undefined || (!given.autoSni && !given.autoSanValidation)) return undefined;
  return { setsServerName: given.autoSni, verifiesHost: given.autoSanValidation, hostHeader: given.overrideAutoSniHeader.toLowerCase() };
}

interface ChosenProtocol {
  readonly upstreamProtocol: UpstreamProtocol;
  readonly http2: Http2ProtocolOptions | undefined;
  readonly path: string;
}

function chosenProtocol(options: HttpProtocolOptions | undefined, cluster: Cluster): ChosenProtocol {
  const chosen = options?.upstreamProtocolOptions;
  switch (chosen?.case) {
    case 'useDownstreamProtocolConfig':
      return {
        upstreamProtocol: 'downstream',
        http2: chosen.value.http2ProtocolOptions,
        path: `${PATH}.use_downstream_protocol_config.http2_protocol_options`,
      };
    case 'autoConfig':
      return { upstreamProtocol: 'auto', http2: chosen.value.http2ProtocolOptions, path: `${PATH}.auto_config.http2_protocol_options` };
    case 'explicitHttpConfig': {
      const { protocolConfig } = chosen.value;
      if (protocolConfig.case === undefined)
        throw new ConfigError(`${PATH}.explicit_http_config`, 'needs http_protocol_options or http2_protocol_options');
      const http2 = protocolConfig.case === 'http2ProtocolOptions' ? protocolConfig.value : undefined;
      const path = `${PATH}.explicit_http_config.http2_protocol_options`;
      return { upstreamProtocol: http2 === undefined ? 'http1' : 'http2', http2, path };
    }
    default:
      if (options !== undefined) throw new ConfigError(PATH, 'needs explicit_http_config, use_downstream_protocol_config or auto_config');
      return {
        upstreamProtocol: cluster.http2ProtocolOptions === undefined ? 'http1' : 'http2',
        http2: cluster.http2ProtocolOptions,
        path: 'http2_protocol_options',
      };
  }
}
