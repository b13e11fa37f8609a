import { type Clock, type Logger, MizzenError, type Random, type Running, Watchable } from '@mizzen/core';
import { createSelfSignedRoot, type KeyAlgorithm } from '@mizzen/identity';
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
import { type Authority, describeAuthority, isSameAuthority, type KeyMaterial, parseAuthority } from '../authority.ts';
import { CA_FILE, FORMS } from '../ca-files.ts';
import { hasExpired, RENEWAL_CHECK_MS, renewedRoot } from '../root-renewal.ts';

/** The CA that users plug in. */
const PLUGGED_IN = 'cacerts';
/** The CA that is made where there is none. */
const SELF_SIGNED = 'istio-ca-secret';
// Source: istio security/pkg/pki/ca/ca.go IstioCASecretType (1.32).
const SELF_SIGNED_TYPE = 'istio.io/ca-root';

export interface KeySecretsOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  /** The root that is made where there is no Secret. */
  readonly root: { readonly trustDomain: string; readonly ttlMs: number; readonly algorithm: KeyAlgorithm };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

interface KeySecret {
  readonly data: Readonly<Record<string, string>>;
  readonly resourceVersion: string;
}

/** Follows one Secret by its name; nothing else of the namespace is read. */
function followSecret(name: string, { client, namespace, logger }: KeySecretsOptions) {
  return createReflector<KeySecret>({
    client,
    kind: KINDS_OF_KUBERNETES.Secret,
    namespace,
    fieldSelector: `metadata.name=${name}`,
    logger,
    keep: ({ metadata, ...secret }) => ({
      data: decodeSecretData(secret),
      resourceVersion: metadata.resourceVersion ?? '',
    }),
  });
}

/**
 * The authority out of the Secret `cacerts`, else out of `istio-ca-secret`, which is made where there is neither; several CAs that start at
 * once use the one that was first. Follows both: a Secret that is broken or deleted leaves the authority before in force.
 */
export function followKeySecrets(options: KeySecretsOptions): Running & { readonly authority: Watchable<Authority | undefined> } {
  const { clock, logger } = options;
  const plugged = followSecret(PLUGGED_IN, options);
  const selfSigned = followSecret(SELF_SIGNED, options);
  const authority = new Watchable<Authority | undefined>(undefined, (a, b) => a !== undefined && b !== undefined && isSameAuthority(a, b));

  const take = (material: KeyMaterial): void => {
    const before = authority.value;
    authority.set(parseAuthority(material, clock.now()));
    if (authority.value && authority.value !== before) {
      const { certificate } = material.names;
      logger.info({ issuer: describeAuthority(authority.value), from: certificate }, before ? 'CA replaced' : 'CA found');
    }
  };
  const reconcile = async (): Promise<void> => {
    if (!plugged.synced.value || !selfSigned.synced.value) return;
    const pluggedIn = plugged.objects.value.get(`${options.namespace}/${PLUGGED_IN}`);
    if (pluggedIn) return take(materialOf(pluggedIn.data, `${options.namespace}/${PLUGGED_IN}`));
    const own = selfSigned.objects.value.get(`${options.namespace}/${SELF_SIGNED}`);
    if (own) return takeSelfSigned(own);
    if (authority.value) {
      logger.warn('the Secret of the CA was deleted; its key stays in force until the CA restarts or a new Secret is there');
      return;
    }
    await createSelfSigned(options);
  };
  const takeSelfSigned = async (secret: KeySecret): Promise<void> => {
    const material = materialOf(secret.data, `${options.namespace}/${SELF_SIGNED}`);
    const renewed = renewedRoot(material, { now: clock.now(), ttlMs: options.root.ttlMs });
    // A root that has expired cannot be used: the renewed one comes by the watch.
    if (!renewed || !hasExpired(material, clock.now())) take(material);
    if (renewed) await replaceSelfSigned(renewed, secret, options);
  };
  const reconciler = createReconciler({
    ...options,
    reconcile,
    dependsOn: [plugged.objects, plugged.synced, selfSigned.objects, selfSigned.synced],
    failure: 'the CA in the Secrets is not taken up',
    everyMs: RENEWAL_CHECK_MS,
  });
  plugged.start();
  selfSigned.start();
  return {
    authority,
    async close() {
      await reconciler.close();
      await Promise.all([plugged.close(), selfSigned.close()]);
    },
  };
}

async function createSelfSigned({ client, namespace, root, clock, logger }: KeySecretsOptions): Promise<void> {
  const { certificatePem, privateKeyPem } = await createSelfSignedRoot({ ...root, now: clock.now() });
  try {
    await client.create(
      KINDS_OF_KUBERNETES.Secret,
      secretOf(namespace, { certificate: certificatePem, key: privateKeyPem, root: certificatePem }),
    );
    logger.info({ secret: `${namespace}/${SELF_SIGNED}` }, 'CA made');
  } catch (thrown) {
    // Another CA was first; its Secret comes by the watch.
    if (!isConflict(thrown)) throw thrown;
  }
}

async function replaceSelfSigned(material: KeyMaterial, { resourceVersion }: KeySecret, options: KeySecretsOptions): Promise<void> {
  const { client, namespace, logger } = options;
  const secret = secretOf(namespace, material);
  try {
    await client.replace(KINDS_OF_KUBERNETES.Secret, { ...secret, metadata: { ...secret.metadata, resourceVersion } });
    logger.info({ secret: `${namespace}/${SELF_SIGNED}` }, 'root renewed with the same key');
  } catch (thrown) {
    if (!isConflict(thrown)) throw thrown;
  }
}

function secretOf(namespace: string, { certificate, key, root }: Pick<KeyMaterial, 'certificate' | 'key' | 'root'>): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: SELF_SIGNED_TYPE,
    metadata: { name: SELF_SIGNED, namespace },
    data: encodeSecretData({ [CA_FILE.certificate]: certificate, [CA_FILE.key]: key, [CA_FILE.root]: root }),
  };
}

/** The parts of a CA in a Secret, under either form of names. Throws MIZZEN_IDENTITY naming what is missing. */
function materialOf(data: Readonly<Record<string, string>>, secret: string): KeyMaterial {
  const form = FORMS.find(({ certificate }) => data[certificate] !== undefined) ?? CA_FILE;
  const names = {
    key: `${form.key} of Secret ${secret}`,
    certificate: `${form.certificate} of Secret ${secret}`,
    chain: `${form.chain} of Secret ${secret}`,
    root: `${form.root} of Secret ${secret}`,
  };
  const required = (part: 'key' | 'certificate' | 'root'): string => {
    const pem = data[form[part]];
    if (pem === undefined || pem === '') throw new MizzenError('MIZZEN_IDENTITY', `${names[part]} is missing; add it`);
    return pem;
  };
  const certificate = required('certificate');
  // Older self-signed Secrets hold no root beside the certificate, which is one.
  const isOwn = secret.endsWith(`/${SELF_SIGNED}`) && (data[form.root] ?? '') === '';
  return { names, certificate, key: required('key'), root: isOwn ? certificate : required('root'), chain: data[form.chain] ?? '' };
}
