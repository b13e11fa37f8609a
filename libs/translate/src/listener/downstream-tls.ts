import type { ServerTlsSettings } from '@mizzen/mesh-api';
import type { ProxyView } from '@mizzen/model';
import type { TransportSocketSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  SubjectAltNameMatcher_SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol,
  type TlsParametersSchema,
} from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { type CommonTlsContextSchema, DownstreamTlsContextSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/tls';
import { any, type Init } from '../messages.ts';
import { peerExchangeAlpn } from '../metadata-exchange.ts';
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

type TransportSocketInit = Init<typeof TransportSocketSchema>;
type CommonTlsInit = Init<typeof CommonTlsContextSchema>;
type SanMatcherInit = Init<typeof SubjectAltNameMatcherSchema>;

/** Source: istio pilot/pkg/security/model/authentication.go SupportedCiphers (1.32 dev). */
const CIPHER_SUITES = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
];

/** The mesh's mutual TLS as a server: the workload's certificate, and clients of the own trust domain only. */
export function meshServerTls(view: ProxyView, options: { isHttp: boolean }): TransportSocketInit {
  const isStrict13 = view.mesh.meshMTLS?.minProtocolVersion === 'TLSV1_3';
  return tlsSocket({
    requireClientCertificate: true,
    commonTlsContext: {
      ...workloadIdentity(view),
      tlsParams: {
        tlsMinimumProtocolVersion: isStrict13 ? TlsParameters_TlsProtocol.TLSv1_3 : TlsParameters_TlsProtocol.TLSv1_2,
        tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
        cipherSuites: view.mesh.meshMTLS?.cipherSuites ? [...view.mesh.meshMTLS.cipherSuites] : CIPHER_SUITES,
      },
      alpnProtocols: [...(options.isHttp ? [] : peerExchangeAlpn(view.node.client)), 'h2', 'http/1.1'],
    },
  });
}

function workloadIdentity(view: ProxyView): CommonTlsInit {
  const { client } = view.node;
  return {
    tlsCertificateSdsSecretConfigs: [sdsSecret(WORKLOAD_CERTIFICATE, client)],
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          matchTypedSubjectAltNames: view.trustDomains.map((trustDomain) => ({
            sanType: SubjectAltNameMatcher_SanType.URI,
            matcher: { matchPattern: { case: 'prefix', value: `spiffe://${trustDomain}/` } },
          })),
        },
        validationContextSdsSecretConfig: sdsSecret(MESH_ROOT, client),
      },
    },
  };
}

/** TLS of a Gateway server that is ended here. Source: istio pilot/pkg/networking/core/gateway.go buildGatewayListenerTLSContext (1.32 dev). */
export function gatewayServerTls(view: ProxyView, tls: ServerTlsSettings, options: { isHttp: boolean }): TransportSocketInit {
  const alpn = options.isHttp ? { alpnProtocols: ['h2', 'http/1.1'] } : {};
  if (tls.mode === 'ISTIO_MUTUAL')
    return tlsSocket({
      requireClientCertificate: true,
      commonTlsContext: { ...workloadIdentity(view), ...alpn, tlsParams: tlsParameters(tls) },
    });
  const isClientAsked = tls.mode === 'MUTUAL' || tls.mode === 'OPTIONAL_MUTUAL';
  return tlsSocket({
    requireClientCertificate: tls.mode === 'MUTUAL',
    commonTlsContext: {
      tlsParams: tlsParameters(tls),
      ...alpn,
      tlsCertificateSdsSecretConfigs: serverCertificates(tls).map((name) => sdsSecret(name, view.node.client)),
      ...(isClientAsked && {
        validationContextType: {
          case: 'combinedValidationContext',
          value: {
            defaultValidationContext: {
              matchTypedSubjectAltNames: (tls.subjectAltNames ?? []).map(exactSan),
              verifyCertificateSpki: [...(tls.verifyCertificateSpki ?? [])],
              verifyCertificateHash: [...(tls.verifyCertificateHash ?? [])],
              ...revocations(tls),
            },
            validationContextSdsSecretConfig: sdsSecret(clientRoot(tls), view.node.client),
          },
        },
      }),
    },
  });
}

function serverCertificates(tls: ServerTlsSettings): string[] {
  if (tls.credentialName) return [credentialSecret(tls.credentialName)];
  if (tls.credentialNames) return tls.credentialNames.map(credentialSecret);
  const files = tls.tlsCertificates ?? [tls];
  return files.map((file) => fileCertificateSecret({ certificate: file.serverCertificate ?? '', privateKey: file.privateKey ?? '' }));
}

function clientRoot(tls: ServerTlsSettings): string {
  if (tls.caCertCredentialName) return credentialCaSecret(tls.caCertCredentialName);
  const credential = tls.credentialName ?? tls.credentialNames?.[0];
  return credential ? credentialCaSecret(credential) : fileRootSecret(tls.caCertificates ?? tls.tlsCertificates?.[0]?.caCertificates ?? '');
}

const TLS_VERSIONS: Readonly<Record<string, TlsParameters_TlsProtocol>> = {
  TLSV1_0: TlsParameters_TlsProtocol.TLSv1_0,
  TLSV1_1: TlsParameters_TlsProtocol.TLSv1_1,
  TLSV1_2: TlsParameters_TlsProtocol.TLSv1_2,
  TLSV1_3: TlsParameters_TlsProtocol.TLSv1_3,
};

function tlsParameters(tls: ServerTlsSettings): Init<typeof TlsParametersSchema> {
  const maximum = TLS_VERSIONS[tls.maxProtocolVersion ?? ''];
  return {
    tlsMinimumProtocolVersion: TLS_VERSIONS[tls.minProtocolVersion ?? ''] ?? TlsParameters_TlsProtocol.TLSv1_2,
    ...(maximum !== undefined && { tlsMaximumProtocolVersion: maximum }),
    ...(tls.cipherSuites && { cipherSuites: [...tls.cipherSuites] }),
    ...(tls.ecdhCurves && { ecdhCurves: [...tls.ecdhCurves] }),
  };
}

function exactSan(name: string): SanMatcherInit {
  const sanType = name.includes('://') ? SubjectAltNameMatcher_SanType.URI : SubjectAltNameMatcher_SanType.DNS;
  return { sanType, matcher: { matchPattern: { case: 'exact', value: name } } };
}

function tlsSocket(context: Init<typeof DownstreamTlsContextSchema>): TransportSocketInit {
  return { name: 'envoy.transport_sockets.tls', configType: { case: 'typedConfig', value: any(DownstreamTlsContextSchema, context) } };
}
