import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Address, AddressSchema, PipeSchema, SocketAddressSchema } from '@mizzen/xds-api/envoy/config/core/v3/address';
import { HeaderMapSchema, HeaderValueSchema, MetadataSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type AttributeContext,
  type AttributeContext_HttpRequest,
  AttributeContext_HttpRequestSchema,
  AttributeContext_PeerSchema,
  AttributeContext_RequestSchema,
  AttributeContext_TLSSessionSchema,
  AttributeContextSchema,
} from '@mizzen/xds-api/envoy/service/auth/v3/attribute_context';
import { CheckRequestSchema, type CheckResponse, CheckResponseSchema } from '@mizzen/xds-api/envoy/service/auth/v3/external_auth';
import type { DownstreamConnection, SocketAddress } from '../../contract.ts';
import type { GrpcTarget } from '../../grpc/grpc-service.ts';
import { callUnary, GRPC_OK } from '../../grpc/unary-client.ts';
import type { AsyncCall, CallRuntime } from '../../http/async-client.ts';
import type { HttpStreamInfo } from '../../http/stream-info.ts';
import type { AuthzConfig } from './authz-config.ts';
import { type AuthzDecision, plainChange, responseChange } from './authz-decision.ts';
import type { AuthzQuestion } from './authz-question.ts';
import { unmappedAddress } from './ip-range.ts';

const METHOD = '/envoy.service.auth.v3.Authorization/Check';
const DEFAULT_DENIED_STATUS = 403;

/** Asks a gRPC authorization server about a request. Source: envoy ext_authz GrpcClientImpl, CheckRequestUtils (1.40). */
export function askGrpc(
  runtime: CallRuntime,
  question: AuthzQuestion,
  options: { readonly config: AuthzConfig; readonly service: GrpcTarget; done(decision: AuthzDecision): void },
): AsyncCall {
  const { config, service, done } = options;
  return ask(runtime, requestAttributes(question, config), { service, done });
}

/** Asks a gRPC authorization server about a connection. */
export function askGrpcOfConnection(
  runtime: CallRuntime,
  connection: DownstreamConnection,
  options: ShownOfTls & { readonly service: GrpcTarget; done(decision: AuthzDecision): void },
): AsyncCall {
  return ask(runtime, connectionAttributes(connection, options), options);
}

function ask(
  runtime: CallRuntime,
  attributes: AttributeContext,
  { service, done }: { readonly service: GrpcTarget; done(decision: AuthzDecision): void },
): AsyncCall {
  const message = toBinary(CheckRequestSchema, create(CheckRequestSchema, { attributes }));
  const { cluster, authority, metadata, timeoutMs = 0 } = service;
  return callUnary(runtime, { cluster, method: METHOD, authority, message, metadata, timeoutMs }, ({ status, message: answer }) => {
    done(status !== GRPC_OK || answer === undefined ? { kind: 'error' } : decode(answer));
  });
}

function decode(answer: Buffer): AuthzDecision {
  try {
    return decisionOf(fromBinary(CheckResponseSchema, answer));
  } catch {
    return { kind: 'error' };
  }
}

function requestAttributes(question: AuthzQuestion, config: AuthzConfig): AttributeContext {
  const { info, contextExtensions } = question;
  const attributes = connectionAttributes(info.facts.connection, config);
  const metadata = config.metadataNamespaces.flatMap((namespace) => {
    const known = info.dynamicMetadata?.get(namespace);
    return known === undefined ? [] : [[namespace, known] as const];
  });
  if (attributes.source !== undefined) attributes.source.service = asText(info.requestHeader('x-envoy-downstream-service-cluster') ?? '');
  attributes.request = create(AttributeContext_RequestSchema, {
    time: timestampFromMs(info.startTimeMs),
    http: httpRequest(question, config),
  });
  attributes.contextExtensions = { ...contextExtensions };
  attributes.metadataContext = create(MetadataSchema, { filterMetadata: Object.fromEntries(metadata) });
  attributes.routeMetadataContext = create(MetadataSchema);
  return attributes;
}

/** What of a TLS connection the authorization server is shown besides the names. */
export interface ShownOfTls {
  readonly includesPeerCertificate: boolean;
  readonly includesTlsSession: boolean;
}

function connectionAttributes(connection: DownstreamConnection, shown: ShownOfTls): AttributeContext {
  const { tls, localAddress, remoteAddress, requestedServerName } = connection;
  const attributes = create(AttributeContextSchema, {
    source: create(AttributeContext_PeerSchema, {
      address: addressMessage(remoteAddress),
      principal: asText(tls?.peer?.uriSans[0] ?? tls?.peer?.subject ?? ''),
      certificate: shown.includesPeerCertificate ? encodeURIComponent(tls?.peer?.pem?.() ?? '') : '',
    }),
    destination: create(AttributeContext_PeerSchema, { address: addressMessage(localAddress), principal: tls?.localUriSan ?? '' }),
  });
  // There also without TLS, empty then, as Envoy's.
  if (shown.includesTlsSession)
    attributes.tlsSession = create(AttributeContext_TLSSessionSchema, {
      sni: asText(requestedServerName ?? tls?.requestedServerName ?? ''),
    });
  return attributes;
}

function addressMessage(address: SocketAddress): Address {
  if (address.kind === 'pipe')
    return create(AddressSchema, { address: { case: 'pipe', value: create(PipeSchema, { path: address.path }) } });
  const value = create(SocketAddressSchema, {
    address: unmappedAddress(address.host),
    portSpecifier: { case: 'portValue', value: address.port },
  });
  return create(AddressSchema, { address: { case: 'socketAddress', value } });
}

function httpRequest({ info, id, body, isPartial }: AuthzQuestion, config: AuthzConfig): AttributeContext_HttpRequest {
  const headers = shownHeaders(info, config);
  if (body !== undefined) headers.push(['x-envoy-auth-partial-body', String(isPartial)]);
  const message = create(AttributeContext_HttpRequestSchema, {
    id,
    method: info.method,
    path: asText(info.path),
    host: asText(info.authority),
    scheme: info.scheme,
    size: BigInt(info.bytesReceived),
    protocol: info.protocol,
  });
  if (config.encodesRawHeaders) {
    const raw = headers.map(([key, value]) => create(HeaderValueSchema, { key, rawValue: Buffer.from(value, 'latin1') }));
    message.headerMap = create(HeaderMapSchema, { headers: raw });
  } else message.headers = joined(headers);
  if (body !== undefined) {
    if (config.body?.packsAsBytes) message.rawBody = body;
    else message.body = body.toString('utf8');
  }
  return message;
}

function shownHeaders(info: HttpStreamInfo, config: AuthzConfig): (readonly [name: string, value: string])[] {
  const { names, values } = info.head.headers;
  const shown: (readonly [string, string])[] = [];
  for (const name of [':authority', ':path', ':method', ':scheme', 'content-length', 'upgrade']) {
    const value = info.requestHeader(name);
    if (value !== undefined && config.showsHeader(name)) shown.push([name, value]);
  }
  names.forEach((name, index) => {
    if (config.showsHeader(name)) shown.push([name, values[index] as string]);
  });
  return shown;
}

function joined(headers: readonly (readonly [name: string, value: string])[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (const [name, value] of headers) record[name] = Object.hasOwn(record, name) ? `${record[name]},${asText(value)}` : asText(value);
  return record;
}

// A proto string is UTF-8; what is none is shown with replacement characters, as Envoy does.
function asText(wire: string): string {
  return Buffer.from(wire, 'latin1').toString('utf8');
}

function decisionOf({ status, httpResponse, dynamicMetadata }: CheckResponse): AuthzDecision {
  const ok = httpResponse.case === 'okResponse' ? httpResponse.value : undefined;
  const metadata = ok?.dynamicMetadata ?? dynamicMetadata;
  if ((status?.code ?? 0) === GRPC_OK)
    return {
      kind: 'ok',
      requestHeaders: (ok?.headers ?? []).map((option) => plainChange(option, 'join')),
      headersToRemove: ok?.headersToRemove ?? [],
      responseHeaders: (ok?.responseHeadersToAdd ?? []).flatMap((option) => responseChange(option) ?? []),
      queryToSet: (ok?.queryParametersToSet ?? []).map(({ key, value }) => [key, value]),
      queryToRemove: ok?.queryParametersToRemove ?? [],
      metadata,
    };
  const denied = httpResponse.case === 'deniedResponse' ? httpResponse.value : undefined;
  return {
    kind: 'denied',
    status: denied?.status?.code || DEFAULT_DENIED_STATUS,
    body: denied?.body ?? '',
    headers: (denied?.headers ?? []).map((option) => plainChange(option, 'add')),
    metadata,
  };
}
