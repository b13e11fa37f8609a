import {
  duration,
  fields,
  flag,
  listOf,
  nonEmptyText,
  oneOf,
  opaqueObject,
  optional,
  port,
  type Spec,
  text,
  textList,
  textMap,
  uint32,
} from '../kinds/schema.ts';

const address = { service: nonEmptyText, port };
const headerList = listOf(fields({ name: nonEmptyText, value: optional(text), envName: optional(text) }));
const httpService = fields({ path: optional(text), timeout: optional(duration), headers: optional(headerList) });
const grpcService = fields({ timeout: optional(duration), initialMetadata: optional(headerList) });
const logFormat = fields({ text: optional(text), labels: optional(opaqueObject) });
const requestBody = fields({ maxRequestBytes: optional(uint32), allowPartialMessage: optional(flag), packAsBytes: optional(flag) });

const externalAuthorization = {
  ...address,
  timeout: optional(duration),
  failOpen: optional(flag),
  clearRouteCache: optional(flag),
  statusOnError: optional(text),
  includeRequestBodyInCheck: optional(requestBody),
};

/** Services outside the proxies that telemetry and authorization refer to by name. Exactly one kind of provider each. */
export const extensionProviderSchema = fields({
  name: nonEmptyText,
  prometheus: optional(fields({})),
  envoyFileAccessLog: optional(fields({ path: optional(text), logFormat: optional(logFormat), omitEmptyValues: optional(flag) })),
  envoyHttpAls: optional(
    fields({
      ...address,
      logName: optional(text),
      filterStateObjectsToLog: optional(textList),
      additionalRequestHeadersToLog: optional(textList),
      additionalResponseHeadersToLog: optional(textList),
      additionalResponseTrailersToLog: optional(textList),
    }),
  ),
  envoyTcpAls: optional(fields({ ...address, logName: optional(text), filterStateObjectsToLog: optional(textList) })),
  envoyOtelAls: optional(fields({ ...address, logName: optional(text), logFormat: optional(logFormat) })),
  opentelemetry: optional(
    fields({
      ...address,
      maxTagLength: optional(uint32),
      http: optional(httpService),
      grpc: optional(grpcService),
      resourceDetectors: optional(fields({ environment: optional(fields({})), dynatrace: optional(fields({})) })),
      serviceAttributeEnrichment: optional(oneOf(['ISTIO_CANONICAL', 'OTEL_SEMANTIC_CONVENTIONS'])),
      dynatraceSampler: optional(opaqueObject),
    }),
  ),
  zipkin: optional(
    fields({
      ...address,
      maxTagLength: optional(uint32),
      enable64bitTraceId: optional(flag),
      path: optional(text),
      traceContextOption: optional(oneOf(['USE_B3', 'USE_B3_WITH_W3C_PROPAGATION'])),
      timeout: optional(duration),
      headers: optional(headerList),
    }),
  ),
  datadog: optional(fields({ ...address, maxTagLength: optional(uint32) })),
  skywalking: optional(fields({ ...address, accessToken: optional(text) })),
  stackdriver: optional(opaqueObject),
  lightstep: optional(opaqueObject),
  opencensus: optional(opaqueObject),
  envoyExtAuthzHttp: optional(
    fields({
      ...externalAuthorization,
      pathPrefix: optional(text),
      includeHeadersInCheck: optional(textList),
      includeRequestHeadersInCheck: optional(textList),
      includeAdditionalHeadersInCheck: optional(textMap),
      headersToUpstreamOnAllow: optional(textList),
      headersToDownstreamOnDeny: optional(textList),
      headersToDownstreamOnAllow: optional(textList),
    }),
  ),
  envoyExtAuthzGrpc: optional(fields(externalAuthorization)),
  sds: optional(fields({ name: nonEmptyText, ...address })),
});

export type ExtensionProvider = Spec<typeof extensionProviderSchema>;
