import { type Clock, type Random, type Running, type Timer, Watchable } from '@mizzen/core';
import { CLOCK_SKEW_MS, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';
import type { WebhookAuthority } from './webhook-authority.ts';

/** What the HTTPS server shows: PEM. */
export interface ServingCertificate {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

export interface ServingCertificateSource extends Running {
  readonly certificate: Watchable<ServingCertificate | undefined>;
}

const RENEWAL_RATIO = 2 / 3;
/** So that several replicas do not renew at the same moment. */
const JITTER_RATIO = 0.01;

/** A certificate for the Service's names, issued anew after two thirds of its life and whenever the CA changes. Each replica has its own. */
export function createServingCertificate(options: {
  readonly authority: Watchable<WebhookAuthority | undefined>;
  readonly dnsNames: readonly string[];
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onError: (thrown: unknown) => void;
}): ServingCertificateSource {
  const { authority, ttlMs, clock, random } = options;
  const certificate = new Watchable<ServingCertificate | undefined>(undefined);
  let timer: Timer | undefined;

  const renew = (): void => {
    timer?.cancel();
    const issuer = authority.value;
    if (!issuer) return;
    timer = clock.after(ttlMs * (RENEWAL_RATIO - JITTER_RATIO * random()), renew);
    issue(issuer, options).then((issued) => {
      if (authority.value === issuer) certificate.set(issued);
    }, options.onError);
  };
  const stop = authority.watch(renew);
  renew();
  return {
    certificate,
    async close() {
      stop();
      timer?.cancel();
    },
  };
}

async function issue(
  { issuer }: WebhookAuthority,
  { dnsNames, ttlMs, clock }: { readonly dnsNames: readonly string[]; readonly ttlMs: number; readonly clock: Clock },
): Promise<ServingCertificate> {
  const { publicKey, privateKey } = await generateKeys();
  const validity = { notBefore: clock.now() - CLOCK_SKEW_MS, notAfter: clock.now() + ttlMs };
  const certificatePem = issueLeaf(issuer.reveal(), { publicKey, names: { dnsNames }, validity });
  return { certificatePem, keyPem: privateKeyToPem(privateKey), notAfter: validity.notAfter };
}
