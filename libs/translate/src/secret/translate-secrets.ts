import type { Secret } from '@mizzen/core';
import type { ProxyView } from '@mizzen/model';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { encodeResource, type TranslatedResource, type TranslateResult } from '../result.ts';
import { parseCredentialSecret } from '../sds.ts';

/** Certificate, key and CA that a `credentialName` stands for. */
export interface Credential {
  readonly certChainPem?: string;
  readonly privateKey?: Secret<string>;
  readonly caPem?: string;
}

/**
 * The secrets named. Credentials are given to gateways only, and only those that a Gateway or DestinationRule in their view names: a
 * sidecar, or a gateway of another team, gets nothing.
 */
export function translateSecrets(view: ProxyView, names: Iterable<string>, credentials: ReadonlyMap<string, Credential>): TranslateResult {
  if (view.node.type !== 'router') return { resources: [], diagnostics: [] };
  const allowed = credentialNames(view);
  const resources: TranslatedResource[] = [];
  for (const name of names) {
    const wanted = parseCredentialSecret(name);
    // A credential's own name may end like the suffix of CAs.
    const whole = name.slice('kubernetes://'.length);
    if (wanted === undefined) continue;
    const resource =
      allowed.has(whole) && credentials.has(whole)
        ? secret(name, credentials.get(whole), false)
        : allowed.has(wanted.credentialName)
          ? secret(name, credentials.get(wanted.credentialName), wanted.isCa)
          : undefined;
    if (resource !== undefined) resources.push(resource);
  }
  return { resources, diagnostics: [] };
}

function secret(name: string, credential: Credential | undefined, isCa: boolean): TranslatedResource | undefined {
  if (credential === undefined) return undefined;
  if (isCa) {
    if (credential.caPem === undefined) return undefined;
    return encodeResource(SecretSchema, name, {
      name,
      type: { case: 'validationContext', value: { trustedCa: inline(credential.caPem) } },
    });
  }
  if (credential.certChainPem === undefined || credential.privateKey === undefined) return undefined;
  const value = { certificateChain: inline(credential.certChainPem), privateKey: inline(credential.privateKey.reveal()) };
  return encodeResource(SecretSchema, name, { name, type: { case: 'tlsCertificate', value } });
}

function inline(pem: string) {
  return { specifier: { case: 'inlineBytes', value: Buffer.from(pem) } } as const;
}

function credentialNames(view: ProxyView): Set<string> {
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name) names.add(name);
  };
  for (const { servers } of view.outboundScope.gateways) {
    for (const { tls } of servers) {
      add(tls?.credentialName);
      add(tls?.caCertCredentialName);
      tls?.credentialNames?.forEach(add);
    }
  }
  for (const { host } of view.outboundScope.services) {
    const rule = view.outboundScope.destinationRule(host);
    for (const policy of [rule?.trafficPolicy, ...(rule?.subsets ?? []).map(({ trafficPolicy }) => trafficPolicy)]) {
      add(policy?.tls?.credentialName);
      for (const { tls } of policy?.portLevelSettings ?? []) add(tls?.credentialName);
    }
  }
  return names;
}
