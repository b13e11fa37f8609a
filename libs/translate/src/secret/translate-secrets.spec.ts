import { fromBinary, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { Secret } from '@mizzen/core';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { readCase, viewOf } from '../testing/translation-case.ts';
import { type Credential, translateSecrets } from './translate-secrets.ts';

const CASE = readCase(
  `nodes:
  gateway: { type: router, namespace: istio-system, labels: { istio: ingressgateway } }
  other: { type: router, labels: { istio: other } }
  sidecar: {}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: g, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: 443, name: https, protocol: HTTPS }, hosts: ["*"], tls: { mode: MUTUAL, credentialName: web } }]
`,
  'secrets.yaml',
);

const CREDENTIALS = new Map<string, Credential>([
  ['web', { certChainPem: 'CERT', privateKey: new Secret('KEY'), caPem: 'CA' }],
  ['unused', { certChainPem: 'CERT', privateKey: new Secret('KEY') }],
]);

function names(node: string, ...wanted: string[]): string[] {
  return translateSecrets(viewOf(CASE, node), wanted, CREDENTIALS).resources.map(({ name }) => name);
}

describe('translateSecrets', () => {
  it('gives a gateway the credentials that its Gateways name', () => {
    expect(names('gateway', 'kubernetes://web', 'kubernetes://web-cacert')).toEqual(['kubernetes://web', 'kubernetes://web-cacert']);
    const [secret, ca] = translateSecrets(viewOf(CASE, 'gateway'), ['kubernetes://web', 'kubernetes://web-cacert'], CREDENTIALS).resources;
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    expect(secret && toJson(SecretSchema, fromBinary(SecretSchema, secret.body.value))).toMatchObject({
      tlsCertificate: { certificateChain: { inlineBytes: base64('CERT') }, privateKey: { inlineBytes: base64('KEY') } },
    });
    expect(ca && toJson(SecretSchema, fromBinary(SecretSchema, ca.body.value))).toMatchObject({
      validationContext: { trustedCa: { inlineBytes: base64('CA') } },
    });
  });

  it.each([
    ['a credential that no Gateway names', 'gateway', 'kubernetes://unused'],
    ['a credential that does not exist', 'gateway', 'kubernetes://gone'],
    ["a name that is the agent's", 'gateway', 'default'],
    ['a gateway that serves other Gateways', 'other', 'kubernetes://web'],
    ['a sidecar', 'sidecar', 'kubernetes://web'],
  ])('gives nothing for %s', (_, node, name) => {
    expect(names(node, name)).toEqual([]);
  });
});
