import type { DescMessage } from '@bufbuild/protobuf';
import { FilterConfigSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { BrotliSchema as BrotliCompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/brotli/compressor/v3/brotli';
import { BrotliSchema as BrotliDecompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/brotli/decompressor/v3/brotli';
import { GzipSchema as GzipCompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/gzip/compressor/v3/gzip';
import { GzipSchema as GzipDecompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/gzip/decompressor/v3/gzip';
import { ZstdSchema as ZstdCompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/zstd/compressor/v3/zstd';
import { ZstdSchema as ZstdDecompressorSchema } from '@mizzen/xds-api/envoy/extensions/compression/zstd/decompressor/v3/zstd';
import { BufferPerRouteSchema, BufferSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/buffer/v3/buffer';
import { CompressorPerRouteSchema, CompressorSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/compressor/v3/compressor';
import { CsrfPolicySchema } from '@mizzen/xds-api/envoy/extensions/filters/http/csrf/v3/csrf';
import { DecompressorSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/decompressor/v3/decompressor';
import {
  PerRouteConfigSchema as DynamicForwardProxyPerRouteSchema,
  FilterConfigSchema as DynamicForwardProxySchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy';
import { FilterConfigSchema as GrpcStatsSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_stats/v3/config';
import { GrpcWebSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/grpc_web/v3/grpc_web';
import {
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/header_mutation/v3/header_mutation';
import { ConfigSchema as HeaderToMetadataSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata';
import { HealthCheckSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/health_check/v3/health_check';
import { LocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit';
import { RateLimitPerRouteSchema, RateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/ratelimit/v3/rate_limit';
import { ConfigSchema as SetFilterStateSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state';
import { ConfigSchema as SetMetadataSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/set_metadata/v3/set_metadata';
import {
  StatefulSessionPerRouteSchema,
  StatefulSessionSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/stateful_session/v3/stateful_session';
import { CookieBasedSessionStateSchema } from '@mizzen/xds-api/envoy/extensions/http/stateful_session/cookie/v3/cookie';
import { HeaderBasedSessionStateSchema } from '@mizzen/xds-api/envoy/extensions/http/stateful_session/header/v3/header';
import { UuidRequestIdConfigSchema } from '@mizzen/xds-api/envoy/extensions/request_id/uuid/v3/uuid';
import { FilterConfigSchema as AlpnSchema } from '@mizzen/xds-api/istio/envoy/config/filter/http/alpn/v2alpha1/config';
import { TypedStructSchema as UdpaTypedStructSchema } from '@mizzen/xds-api/udpa/type/v1/typed_struct';
import { TypedStructSchema } from '@mizzen/xds-api/xds/type/v3/typed_struct';

/** What configures HTTP filters, and the libraries that they name. */
export const HTTP_FILTER_MESSAGES: readonly DescMessage[] = [
  CookieBasedSessionStateSchema,
  DynamicForwardProxyPerRouteSchema,
  DynamicForwardProxySchema,
  HeaderBasedSessionStateSchema,
  SetFilterStateSchema,
  StatefulSessionPerRouteSchema,
  StatefulSessionSchema,
  AlpnSchema,
  BrotliCompressorSchema,
  BrotliDecompressorSchema,
  BufferPerRouteSchema,
  BufferSchema,
  CompressorPerRouteSchema,
  CompressorSchema,
  CsrfPolicySchema,
  DecompressorSchema,
  FilterConfigSchema,
  GrpcStatsSchema,
  GrpcWebSchema,
  GzipCompressorSchema,
  GzipDecompressorSchema,
  HeaderMutationPerRouteSchema,
  HeaderMutationSchema,
  HeaderToMetadataSchema,
  HealthCheckSchema,
  LocalRateLimitSchema,
  RateLimitPerRouteSchema,
  RateLimitSchema,
  SetMetadataSchema,
  TypedStructSchema,
  UdpaTypedStructSchema,
  UuidRequestIdConfigSchema,
  ZstdCompressorSchema,
  ZstdDecompressorSchema,
];
