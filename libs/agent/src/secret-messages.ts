import { create } from '@bufbuild/protobuf';
import type { Svid } from '@mizzen/identity';
import { type Secret, SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';

/** The names under which the control plane's TLS contexts refer to the workload's own secrets, as Istio's agent serves them. */
export const SECRET = { svid: 'default', roots: 'ROOTCA' } as const;

export function keyPairSecret(name: string, pair: { chainPem: string; keyPem: string }): Secret {
  return create(SecretSchema, {
    name,
    type: {
      case: 'tlsCertificate',
      value: {
        certificateChain: { specifier: { case: 'inlineString', value: pair.chainPem } },
        privateKey: { specifier: { case: 'inlineString', value: pair.keyPem } },
      },
    },
  });
}

export function rootsSecret(name: string, rootsPem: string): Secret {
  return create(SecretSchema, {
    name,
    type: { case: 'validationContext', value: { trustedCa: { specifier: { case: 'inlineString', value: rootsPem } } } },
  });
}

/** An SVID as the two secrets that TLS contexts ask for. */
export function secretsOf(svid: Svid): readonly Secret[] {
  return [
    keyPairSecret(SECRET.svid, { chainPem: svid.certChainPem, keyPem: svid.privateKeyPem.reveal() }),
    rootsSecret(SECRET.roots, svid.trustBundlePem),
  ];
}
