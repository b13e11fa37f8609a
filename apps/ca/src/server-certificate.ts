import { isIP } from 'node:net';
import { type Clock, type Running, type Timer, Watchable } from '@mizzen/core';
import { CLOCK_SKEW_MS, formatSpiffeId, generateKeys, issueLeaf, privateKeyToPem, type TlsIdentity } from '@mizzen/identity';
import { type Authority, trustBundleOf } from './authority.ts';

export interface ServerCertificate extends Running {
  readonly identity: Watchable<TlsIdentity | undefined>;
}

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '::1'];
// The second is what the Service is called in the cluster.
const SERVICE_NAMES = ['istio-ca', 'mizzen-ca'];
const TTL_MS = 86_400_000;
const RENEW_AFTER_RATIO = 0.5;
const LONGEST_WAIT_MS = 30_000;

/** The CA's own server certificate: issued by itself, renewed at half its life and whenever the authority changes. */
export async function createServerCertificate(options: {
  authority: Watchable<Authority>;
  trustDomain: string;
  /** Of the CA itself. */
  namespace: string;
  furtherNames: readonly string[];
  clock: Clock;
}): Promise<ServerCertificate> {
  const { authority, trustDomain, namespace, clock } = options;
  const names = [...LOOPBACK_NAMES, ...SERVICE_NAMES.flatMap((name) => namesInCluster(name, namespace)), ...options.furtherNames];
  const subjectAltNames = {
    uris: [formatSpiffeId({ trustDomain, namespace, serviceAccount: 'istio-ca' })],
    dnsNames: names.filter((name) => isIP(name) === 0),
    ipAddresses: names.filter((name) => isIP(name) !== 0),
  };
  const { publicKey, privateKey } = await generateKeys();
  const identity = new Watchable<TlsIdentity | undefined>(undefined);
  let timer: Timer | undefined;
  let renewsAt = 0;
  const issue = (): void => {
    const { issuer, intermediatePems, notAfter: issuerNotAfter } = authority.value;
    const now = clock.now();
    const notAfter = Math.min(now + TTL_MS, issuerNotAfter);
    const leaf = issueLeaf(issuer, { publicKey, names: subjectAltNames, validity: { notBefore: now - CLOCK_SKEW_MS, notAfter } });
    identity.set({
      certChainPem: [leaf, ...intermediatePems].join(''),
      privateKeyPem: privateKeyToPem(privateKey),
      trustBundlePem: trustBundleOf(authority.value),
    });
    renewsAt = now + Math.max((notAfter - now) * RENEW_AFTER_RATIO, LONGEST_WAIT_MS);
  };
  // Looks at the clock now and then rather than trusting one long timer, which a sleeping machine makes late.
  const check = (): void => {
    if (clock.now() >= renewsAt) issue();
    timer = clock.after(LONGEST_WAIT_MS, check);
  };
  check();
  const stop = authority.watch(issue);
  return {
    identity,
    async close() {
      stop();
      timer?.cancel();
    },
  };
}

function namesInCluster(name: string, namespace: string): string[] {
  return [name, `${name}.${namespace}`, `${name}.${namespace}.svc`, `${name}.${namespace}.svc.cluster.local`];
}
