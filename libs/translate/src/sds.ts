import type { ClientKind } from '@mizzen/model';
import type { DataSourceSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ApiConfigSource_ApiType, ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import type { SdsSecretConfigSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { ADS_SOURCE, type Init, ZERO_DURATION } from './messages.ts';
import { SDS_CLUSTER } from './names.ts';

/** The workload's own certificate and key. */
export const WORKLOAD_CERTIFICATE = 'default';
/** The roots of the mesh. */
export const MESH_ROOT = 'ROOTCA';
const CREDENTIAL_PREFIX = 'kubernetes://';
const CA_SUFFIX = '-cacert';

export function credentialSecret(credentialName: string): string {
  return `${CREDENTIAL_PREFIX}${credentialName}`;
}

export function credentialCaSecret(credentialName: string): string {
  return `${CREDENTIAL_PREFIX}${credentialName}${CA_SUFFIX}`;
}

/** The credential behind a secret's name, and whether its CA is asked for; undefined for names that are the agent's. */
export function parseCredentialSecret(name: string): { credentialName: string; isCa: boolean } | undefined {
  if (!name.startsWith(CREDENTIAL_PREFIX)) return undefined;
  const rest = name.slice(CREDENTIAL_PREFIX.length);
  const isCa = rest.endsWith(CA_SUFFIX);
  return { credentialName: isCa ? rest.slice(0, -CA_SUFFIX.length) : rest, isCa };
}

/** Names that the agent reads from files. Source: istio pkg/security/security.go SdsCertificateConfig (1.32 dev). */
export function fileCertificateSecret(files: { certificate: string; privateKey: string }): string {
  return `file-cert:${files.certificate}~${files.privateKey}`;
}

export function fileRootSecret(file: string): string {
  return `file-root:${file}`;
}

/** The revocation list of a CA that is named by file; a credential brings its own. */
export function revocations(tls: { caCrl?: string; credentialName?: string; credentialNames?: readonly string[] }): {
  crl?: Init<typeof DataSourceSchema>;
} {
  if (!tls.caCrl || tls.credentialName || tls.credentialNames) return {};
  return { crl: { specifier: { case: 'filename', value: tls.caCrl } } };
}

/**
 * Where a proxy takes a secret from: credentials come from the control plane, everything else from its own agent. Our proxy lives in the
 * agent's process and needs no source named; a stock Envoy has a cluster for its agent.
 */
export function sdsSecret(name: string, client: ClientKind): Init<typeof SdsSecretConfigSchema> {
  if (name.startsWith(CREDENTIAL_PREFIX)) return { name, sdsConfig: ADS_SOURCE };
  if (client === 'mizzen') return { name };
  return {
    name,
    sdsConfig: {
      configSourceSpecifier: {
        case: 'apiConfigSource',
        value: {
          apiType: ApiConfigSource_ApiType.GRPC,
          transportApiVersion: ApiVersion.V3,
          grpcServices: [{ targetSpecifier: { case: 'envoyGrpc', value: { clusterName: SDS_CLUSTER } } }],
          setNodeOnFirstMessageOnly: true,
        },
      },
      initialFetchTimeout: ZERO_DURATION,
      resourceApiVersion: ApiVersion.V3,
    },
  };
}
