import { type ClientKind, isHttp, isHttp2, isWildcardHost, type Protocol, type Service } from '@mizzen/model';
import type { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import type { TransportSocketSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { RawBufferSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer';
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { type CommonTlsContextSchema, UpstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { any, type Init } from '../messages.ts';
import { peerExchangeAlpn } from '../metadata-exchange.ts';
import { dnsSrvName } from '../names.ts';
import {
  credentialCaSecret,
  credentialSecret,
  fileCertificateSecret,
  fileRootSecret,
  MESH_ROOT,
  revocations,
  sdsSecret,
  WORKLOAD_CERTIFICATE,
} from '../sds.ts';
import type { PortPolicy } from './traffic-policy.ts';

type ClusterInit = Init<typeof ClusterSchema>;
type TransportSocketInit = Init<typeof TransportSocketSchema>;
type CommonTlsInit = Init<typeof CommonTlsContextSchema>;
type SanMatcherInit = Init<typeof SubjectAltNameMatcherSchema>;
type TlsSettings = NonNullable<PortPolicy['tls']>;

export interface UpstreamTlsContext {
  readonly service: Service;
  readonly port: number;
  readonly subset: string | undefined;
  readonly protocol: Protocol;
  readonly client: ClientKind;
  /** SPIFFE ids of the service accounts behind the service. */
  readonly identities: readonly string[];
  readonly isAutoMtls: boolean;
  /** Clients choose the endpoint. */
  readonly isPassthrough: boolean;
  /** They do, and all endpoints serve mutual TLS. */
  readonly isMutual: boolean;
}

/** Which transport the proxy speaks to the endpoints. A `tls` block in the rule decides; without one, auto mTLS looks at each endpoint. */
export function upstreamTlsFields(tls: PortPolicy['tls'], context: UpstreamTlsContext): ClusterInit {
  if (tls === undefined) {
    if (!context.isAutoMtls || context.service.isExternal) return {};
    if (!context.isPassthrough) return { transportSocketMatches: autoMtlsMatches(context) };
    // Nothing is known of the one endpoint that a client chose. Source: istio push_context.go BestEffortInferServiceMTLSMode (1.32 dev).
    return context.isMutual ? { transportSocket: mutualTlsSocket(context, {}) } : {};
  }
  switch (tls.mode ?? 'DISABLE') {
    case 'ISTIO_MUTUAL':
      return { transportSocket: mutualTlsSocket(context, tls) };
    case 'SIMPLE':
    case 'MUTUAL':
      return { transportSocket: originatedTlsSocket(tls, context) };
    default:
      return {};
  }
}

function autoMtlsMatches(context: UpstreamTlsContext): NonNullable<ClusterInit['transportSocketMatches']> {
  return [
    { name: 'tlsMode-istio', match: { tlsMode: 'istio' }, transportSocket: mutualTlsSocket(context, {}) },
    {
      name: 'tlsMode-disabled',
      match: {},
      transportSocket: { name: 'envoy.transport_sockets.raw_buffer', configType: { case: 'typedConfig', value: any(RawBufferSchema, {}) } },
    },
  ];
}

/** The mesh's mutual TLS: the workload's certificate, and secure naming by the service accounts of the destination. */
function mutualTlsSocket(context: UpstreamTlsContext, tls: Pick<TlsSettings, 'sni' | 'subjectAltNames'>): TransportSocketInit {
  const { service, port, subset, client } = context;
  const names =
    tls.subjectAltNames && tls.subjectAltNames.length > 0 ? tls.subjectAltNames : [...context.identities, ...service.subjectAltNames];
  return tlsSocket({
    sni: tls.sni || dnsSrvName({ host: service.host, port, subset }),
    commonTlsContext: {
      tlsParams: {
        tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_2,
        tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
      },
      alpnProtocols: meshAlpn(context),
      tlsCertificateSdsSecretConfigs: [sdsSecret(WORKLOAD_CERTIFICATE, client)],
      validationContextType: {
        case: 'combinedValidationContext',
        value: {
          defaultValidationContext: { matchTypedSubjectAltNames: names.map((name) => exactSan(name)) },
          validationContextSdsSecretConfig: sdsSecret(MESH_ROOT, client),
        },
      },
    },
  });
}

/** The server's proxy tells from these that a mesh client speaks, and what follows. Source: istio pilot/pkg/util/constant.go (1.32 dev). */
function meshAlpn({ protocol, client }: UpstreamTlsContext): string[] {
  if (isHttp2(protocol)) return ['istio-h2', 'istio', 'h2'];
  return isHttp(protocol) ? ['istio-http/1.1', 'istio', 'http/1.1'] : [...peerExchangeAlpn(client), 'istio'];
}

/** TLS to a server that knows nothing of the mesh. */
function originatedTlsSocket(tls: TlsSettings, context: UpstreamTlsContext): TransportSocketInit {
  const { service, client } = context;
  const sni = tls.sni || (isWildcardHost(service.host) ? '' : service.host);
  const given = tls.subjectAltNames && tls.subjectAltNames.length > 0 ? tls.subjectAltNames : service.subjectAltNames;
  const names = given.length > 0 || sni === '' ? given : [sni];
  const certificate = certificateSecret(tls);
  return tlsSocket({
    sni,
    commonTlsContext: {
      ...(isHttp2(context.protocol) && { alpnProtocols: ['h2'] }),
      ...(certificate !== undefined && { tlsCertificateSdsSecretConfigs: [sdsSecret(certificate, client)] }),
      ...(!tls.insecureSkipVerify && { validationContextType: serverValidation(tls, names.map(exactSan), client) }),
    },
  });
}

function certificateSecret(tls: TlsSettings): string | undefined {
  if (tls.mode !== 'MUTUAL') return undefined;
  if (tls.credentialName) return credentialSecret(tls.credentialName);
  return fileCertificateSecret({ certificate: tls.clientCertificate ?? '', privateKey: tls.privateKey ?? '' });
}

/** Undefined: the roots that the machine trusts. */
function rootSecret(tls: TlsSettings): string | undefined {
  if (tls.credentialName) return credentialCaSecret(tls.credentialName);
  return tls.caCertificates ? fileRootSecret(tls.caCertificates) : undefined;
}

function serverValidation(
  tls: TlsSettings,
  matchTypedSubjectAltNames: SanMatcherInit[],
  client: ClientKind,
): NonNullable<CommonTlsInit['validationContextType']> {
  const root = rootSecret(tls);
  const context = { matchTypedSubjectAltNames, ...revocations(tls) };
  if (root === undefined) return { case: 'validationContext', value: { systemRootCerts: {}, ...context } };
  return {
    case: 'combinedValidationContext',
    value: { defaultValidationContext: context, validationContextSdsSecretConfig: sdsSecret(root, client) },
  };
}

function tlsSocket(context: Init<typeof UpstreamTlsContextSchema>): TransportSocketInit {
  return { name: 'envoy.transport_sockets.tls', configType: { case: 'typedConfig', value: any(UpstreamTlsContextSchema, context) } };
}

function exactSan(name: string): SanMatcherInit {
  const isUri = name.includes('://');
  return {
    sanType: isUri ? SubjectAltNameMatcher_SanType.URI : SubjectAltNameMatcher_SanType.DNS,
    matcher: { matchPattern: { case: 'exact', value: name } },
  };
}
