import { Type } from 'typebox';
import {
  count,
  deprecated,
  duration,
  fields,
  flag,
  int32,
  listOf,
  oneOf,
  optional,
  percentage,
  portOrZero,
  type Spec,
  text,
  textList,
  textMap,
  wholePercentage,
} from './schema.ts';
import { destinationSchema, headersSchema, stringMatchSchema } from './shared.ts';

const percent = fields({ value: optional(percentage) });
const stringMatchMap = Type.Record(Type.String(), stringMatchSchema);

const httpMatchSchema = fields({
  name: optional(text),
  uri: optional(stringMatchSchema),
  scheme: optional(stringMatchSchema),
  method: optional(stringMatchSchema),
  authority: optional(stringMatchSchema),
  headers: optional(stringMatchMap),
  port: optional(portOrZero),
  sourceLabels: optional(textMap),
  gateways: optional(textList),
  queryParams: optional(stringMatchMap),
  ignoreUriCase: optional(flag),
  withoutHeaders: optional(stringMatchMap),
  sourceNamespace: optional(text),
  statPrefix: optional(text),
});

const httpRouteDestinationSchema = fields({
  destination: destinationSchema,
  weight: optional(count),
  headers: optional(headersSchema),
});

const redirectSchema = fields({
  uri: optional(text),
  prefixRewrite: optional(text),
  authority: optional(text),
  port: optional(portOrZero),
  derivePort: optional(oneOf(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'])),
  scheme: optional(text),
  redirectCode: optional(oneOf([0, 301, 302, 303, 307, 308])),
});

const directResponseSchema = fields({
  status: Type.Integer({ minimum: 200, maximum: 599 }),
  body: optional(fields({ string: optional(text), bytes: optional(Type.String({ format: 'byte' })) })),
});

const rewriteSchema = fields({
  uri: optional(text),
  authority: optional(text),
  uriRegexRewrite: optional(fields({ match: optional(text), rewrite: optional(text) })),
});

export const retriesSchema = fields({
  attempts: optional(count),
  perTryTimeout: optional(duration),
  retryOn: optional(text),
  retryRemoteLocalities: optional(flag),
  retryIgnorePreviousHosts: optional(flag),
  backoff: optional(duration),
});

const faultSchema = fields({
  delay: optional(
    fields({
      percent: optional(deprecated(wholePercentage)),
      fixedDelay: optional(duration),
      exponentialDelay: optional(duration),
      percentage: optional(percent),
    }),
  ),
  abort: optional(
    fields({
      httpStatus: optional(Type.Integer({ minimum: 200, maximum: 599 })),
      grpcStatus: optional(text),
      http2Error: optional(text),
      percentage: optional(percent),
    }),
  ),
});

const corsPolicySchema = fields({
  allowOrigin: optional(deprecated(textList)),
  allowOrigins: optional(listOf(stringMatchSchema)),
  allowMethods: optional(textList),
  allowHeaders: optional(textList),
  exposeHeaders: optional(textList),
  maxAge: optional(duration),
  allowCredentials: optional(flag),
  unmatchedPreflights: optional(oneOf(['UNSPECIFIED', 'FORWARD', 'IGNORE'])),
});

const httpRouteSchema = fields({
  name: optional(text),
  match: optional(listOf(httpMatchSchema)),
  route: optional(listOf(httpRouteDestinationSchema)),
  redirect: optional(redirectSchema),
  directResponse: optional(directResponseSchema),
  delegate: optional(fields({ name: optional(text), namespace: optional(text) })),
  rewrite: optional(rewriteSchema),
  timeout: optional(duration),
  retries: optional(retriesSchema),
  fault: optional(faultSchema),
  mirror: optional(destinationSchema),
  mirrors: optional(listOf(fields({ destination: destinationSchema, percentage: optional(percent) }))),
  mirrorPercent: optional(deprecated(wholePercentage)),
  mirror_percent: optional(deprecated(wholePercentage)),
  mirrorPercentage: optional(percent),
  corsPolicy: optional(corsPolicySchema),
  headers: optional(headersSchema),
});

const l4RouteDestinationSchema = fields({ destination: destinationSchema, weight: optional(int32) });

const tlsRouteSchema = fields({
  match: Type.Array(
    fields({
      sniHosts: Type.Array(text, { minItems: 1 }),
      destinationSubnets: optional(textList),
      port: optional(portOrZero),
      sourceLabels: optional(textMap),
      gateways: optional(textList),
      sourceNamespace: optional(text),
    }),
    { minItems: 1 },
  ),
  route: optional(listOf(l4RouteDestinationSchema)),
});

const tcpRouteSchema = fields({
  match: optional(
    listOf(
      fields({
        destinationSubnets: optional(textList),
        port: optional(portOrZero),
        sourceSubnet: optional(text),
        sourceLabels: optional(textMap),
        gateways: optional(textList),
        sourceNamespace: optional(text),
      }),
    ),
  ),
  route: optional(listOf(l4RouteDestinationSchema)),
});

export const virtualServiceSchema = fields({
  hosts: optional(textList),
  gateways: optional(textList),
  http: optional(listOf(httpRouteSchema)),
  tls: optional(listOf(tlsRouteSchema)),
  tcp: optional(listOf(tcpRouteSchema)),
  exportTo: optional(textList),
});

export type VirtualServiceSpec = Spec<typeof virtualServiceSchema>;
export type HttpRoute = Spec<typeof httpRouteSchema>;
export type HttpMatchRequest = Spec<typeof httpMatchSchema>;
export type HttpRouteDestination = Spec<typeof httpRouteDestinationSchema>;
export type HttpRedirect = Spec<typeof redirectSchema>;
export type HttpDirectResponse = Spec<typeof directResponseSchema>;
export type HttpRewrite = Spec<typeof rewriteSchema>;
export type HttpRetry = Spec<typeof retriesSchema>;
export type HttpFaultInjection = Spec<typeof faultSchema>;
export type CorsPolicy = Spec<typeof corsPolicySchema>;
export type TlsRoute = Spec<typeof tlsRouteSchema>;
export type TcpRoute = Spec<typeof tcpRouteSchema>;
export type RouteDestination = Spec<typeof l4RouteDestinationSchema>;
