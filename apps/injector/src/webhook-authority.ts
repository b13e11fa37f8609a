import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type Clock, errorMessage, type Logger, MizzenError, type Random, type Running, Secret, Watchable } from '@mizzen/core';
import { createSelfSignedRoot, type Issuer, privateKeyToPem } from '@mizzen/identity';
import {
  createReconciler,
  createReflector,
  decodeSecretData,
  encodeSecretData,
  isConflict,
  KINDS_OF_KUBERNETES,
  type KubeClient,
  type KubeObject,
} from '@mizzen/kube';

/** The CA of the webhooks' serving certificates: the API server trusts it for the webhooks and nothing else. */
export interface WebhookAuthority {
  readonly certificatePem: string;
  readonly issuer: Secret<Issuer>;
}

export interface WebhookAuthoritySource extends Running {
  /** Undefined until the Secret was read or made. */
  readonly authority: Watchable<WebhookAuthority | undefined>;
  start(): void;
}

export interface WebhookAuthorityOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export const WEBHOOK_SECRET = 'mizzen-injector-webhook';
const CERTIFICATE_KEY = 'ca-cert.pem';
const PRIVATE_KEY = 'ca-key.pem';
/** As Istio's own root: renewed in the last fifth of its life, with the same key, so that what it signed stays valid. */
const RENEWAL_RATIO = 0.8;
const CHECK_EVERY_MS = 3_600_000;

interface StoredAuthority {
  readonly authority: WebhookAuthority | undefined;
  readonly object: KubeObject;
}

/**
 * Keeps the webhooks' CA in a Secret that all replicas share. Where there is none one of them makes it, and the others take that one; a
 * Secret that was deleted comes back with the CA that is in use. One that cannot be read is replaced.
 */
export function createWebhookAuthority(options: WebhookAuthorityOptions): WebhookAuthoritySource {
  const { client, namespace, clock, random, logger } = options;
  const authority = new Watchable<WebhookAuthority | undefined>(undefined, (a, b) => a?.certificatePem === b?.certificatePem);
  const reflector = createReflector<StoredAuthority>({
    client,
    kind: KINDS_OF_KUBERNETES.Secret,
    namespace,
    fieldSelector: `metadata.name=${WEBHOOK_SECRET}`,
    keep: (object) => ({ authority: readAuthority(object, logger), object }),
    clock,
    random,
    logger,
  });
  const stored = (): StoredAuthority | undefined => reflector.objects.value.get(`${namespace}/${WEBHOOK_SECRET}`);

  const reconciler = createReconciler({
    failure: `the webhooks' CA cannot be kept in Secret ${namespace}/${WEBHOOK_SECRET}`,
    clock,
    random,
    logger,
    everyMs: CHECK_EVERY_MS,
    dependsOn: [reflector.objects, reflector.synced],
    reconcile: async () => {
      if (!reflector.synced.value) return;
      const current = stored();
      if (current?.authority) authority.set(current.authority);
      const inUse = current?.authority ?? authority.value;
      if (current?.authority && !isDue(current.authority, clock.now())) return;
      const wanted = inUse && !isDue(inUse, clock.now()) ? inUse : await makeAuthority(inUse, namespace, clock.now());
      await write(client, { namespace, wanted, current: current?.object });
      logger.info({ secret: WEBHOOK_SECRET, isNew: current === undefined }, "webhooks' CA written");
    },
  });
  return {
    authority,
    start: () => reflector.start(),
    async close() {
      await reconciler.close();
      await reflector.close();
    },
  };
}

function isDue({ certificatePem }: WebhookAuthority, nowMs: number): boolean {
  const { validFrom, validTo } = new X509Certificate(certificatePem);
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
  return nowMs >= from + (to - from) * RENEWAL_RATIO;
}

async function makeAuthority(previous: WebhookAuthority | undefined, namespace: string, now: number): Promise<WebhookAuthority> {
  const { certificatePem, privateKeyPem } = await createSelfSignedRoot({
    trustDomain: `webhooks of ${namespace}`,
    now,
    ...(previous && { privateKey: previous.issuer.reveal().privateKey }),
  });
  return authorityOf(certificatePem, privateKeyPem);
}

function authorityOf(certificatePem: string, privateKeyPem: string): WebhookAuthority {
  const certificate = new X509Certificate(certificatePem);
  const privateKey = createPrivateKey(privateKeyPem);
  if (!certificate.ca || !certificate.checkPrivateKey(privateKey))
    throw new MizzenError('MIZZEN_IDENTITY', 'the certificate is no CA of the key beside it');
  return { certificatePem, issuer: new Secret({ certificate, privateKey }) };
}

function readAuthority(object: KubeObject, logger: Logger): WebhookAuthority | undefined {
  const { [CERTIFICATE_KEY]: certificatePem = '', [PRIVATE_KEY]: privateKeyPem = '' } = decodeSecretData(object);
  try {
    return authorityOf(certificatePem, privateKeyPem);
  } catch (thrown) {
    logger.warn({ secret: WEBHOOK_SECRET, reason: errorMessage(thrown) }, 'the Secret holds no CA; it is replaced');
    return undefined;
  }
}

// Whoever is second is refused by the API server, and takes what the first one wrote.
async function write(
  client: KubeClient,
  about: { namespace: string; wanted: WebhookAuthority; current: KubeObject | undefined },
): Promise<void> {
  const { namespace, wanted, current } = about;
  const data = encodeSecretData({
    [CERTIFICATE_KEY]: wanted.certificatePem,
    [PRIVATE_KEY]: privateKeyToPem(wanted.issuer.reveal().privateKey),
  });
  const { apiVersion, kind } = KINDS_OF_KUBERNETES.Secret;
  const metadata = current?.metadata ?? { name: WEBHOOK_SECRET, namespace, labels: { app: 'mizzen-injector' } };
  const secret = { apiVersion, kind, type: 'Opaque', metadata, data };
  try {
    if (current) await client.replace(KINDS_OF_KUBERNETES.Secret, secret);
    else await client.create(KINDS_OF_KUBERNETES.Secret, secret);
  } catch (thrown) {
    if (!isConflict(thrown)) throw thrown;
  }
}
