import { type Clock, errorMessage, type Logger, type Random, type Running, type Watchable } from '@mizzen/core';
import {
  createReconciler,
  createReflector,
  isConflict,
  isKubeError,
  KINDS_OF_KUBERNETES,
  type KubeClient,
  type KubeKind,
  type KubeObject,
  type Reflector,
} from '@mizzen/kube';
import { kubeKindOf } from '@mizzen/mesh-api';
import type { InjectorMetrics } from './injector-metrics.ts';
import type { WebhookAuthority } from './webhook-authority.ts';

export interface WebhookRegistrationOptions {
  readonly client: KubeClient;
  /** Of the mesh: where the test of validation pretends to make something. */
  readonly namespace: string;
  readonly revision: string;
  readonly authority: Watchable<WebhookAuthority | undefined>;
  readonly isLeader: Watchable<boolean>;
  readonly metrics: InjectorMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

interface Webhook {
  readonly clientConfig: { readonly caBundle?: string; readonly [field: string]: unknown };
  readonly failurePolicy?: string;
  readonly [field: string]: unknown;
}

type Configuration = KubeObject & { readonly webhooks?: readonly Webhook[] };

const { MutatingWebhookConfiguration, ValidatingWebhookConfiguration } = KINDS_OF_KUBERNETES;
const FAIL = 'Fail';

/**
 * Tells the API server which CA the webhooks' certificates lead to, and makes it rely on validation once that was seen to work. Only the
 * leader writes; what others change is set right again. The configurations of this revision are those labelled with it.
 */
export function createWebhookRegistration(options: WebhookRegistrationOptions): Running & { start(): void } {
  const { client, revision, authority, isLeader, clock, random, logger } = options;
  const follow = (kind: KubeKind): Reflector<Configuration> =>
    createReflector<Configuration>({
      client,
      kind,
      labelSelector: `istio.io/rev=${revision}`,
      keep: (object) => object as Configuration,
      clock,
      random,
      logger,
    });
  const mutating = follow(MutatingWebhookConfiguration);
  const validating = follow(ValidatingWebhookConfiguration);

  const reconciler = createReconciler({
    failure: 'the webhook configurations cannot be kept up to date',
    clock,
    random,
    logger,
    dependsOn: [authority, isLeader, mutating.objects, validating.objects],
    reconcile: async () => {
      const ca = authority.value;
      if (!ca || !isLeader.value) return;
      const caBundle = Buffer.from(ca.certificatePem, 'utf8').toString('base64');
      // One that may not be written, such as a tag's, must not keep the others from being right.
      const results = await Promise.allSettled([
        ...[...mutating.objects.value.values()].map((each) => put(each, MutatingWebhookConfiguration, { caBundle }, options)),
        ...[...validating.objects.value.values()].map((each) => reconcileValidation(each, caBundle, options)),
      ]);
      const failures = results.flatMap((result) => (result.status === 'rejected' ? [errorMessage(result.reason)] : []));
      if (failures.length > 0) throw new Error(failures.join('; '));
    },
  });
  return {
    start() {
      mutating.start();
      validating.start();
      reconciler.trigger();
    },
    async close() {
      await reconciler.close();
      await Promise.all([mutating.close(), validating.close()]);
    },
  };
}

async function reconcileValidation(configuration: Configuration, caBundle: string, options: WebhookRegistrationOptions): Promise<void> {
  await put(configuration, ValidatingWebhookConfiguration, { caBundle }, options);
  const { webhooks = [] } = configuration;
  const isPatched = webhooks.every(({ clientConfig }) => clientConfig.caBundle === caBundle);
  // The change just made comes back by the watch.
  if (!isPatched || webhooks.every(({ failurePolicy }) => failurePolicy === FAIL)) return;
  await expectRefusal(options);
  await put(configuration, ValidatingWebhookConfiguration, { caBundle, failurePolicy: FAIL }, options);
  options.logger.info({ configuration: configuration.metadata.name }, 'validation works; resources are refused where it does not answer');
}

/** Writes only where something differs. A conflict is no failure: the newer object comes by the watch. */
async function put(
  configuration: Configuration,
  kind: KubeKind,
  wanted: { readonly caBundle: string; readonly failurePolicy?: string },
  { client, metrics, logger }: WebhookRegistrationOptions,
): Promise<void> {
  const { webhooks = [] } = configuration;
  const next = webhooks.map(
    (webhook): Webhook => ({
      ...webhook,
      clientConfig: { ...webhook.clientConfig, caBundle: wanted.caBundle },
      ...(wanted.failurePolicy !== undefined && { failurePolicy: wanted.failurePolicy }),
    }),
  );
  const isSame = next.every(
    ({ clientConfig, failurePolicy }, index) =>
      clientConfig.caBundle === webhooks[index]?.clientConfig.caBundle && failurePolicy === webhooks[index]?.failurePolicy,
  );
  if (isSame) return;
  try {
    await client.replace(kind, { apiVersion: kind.apiVersion, kind: kind.kind, ...configuration, webhooks: next });
    metrics.countPatch(true);
    logger.info({ configuration: configuration.metadata.name }, 'webhook configuration written');
  } catch (thrown) {
    if (isConflict(thrown)) return;
    metrics.countPatch(false);
    throw thrown;
  }
}

const GATEWAY = kubeKindOf('Gateway');
// Fits its schema, and is invalid: only this mesh's validation can refuse it. The label leads it to this revision's webhook.
const invalidGateway = ({ namespace, revision }: WebhookRegistrationOptions): KubeObject => ({
  apiVersion: GATEWAY.apiVersion,
  kind: GATEWAY.kind,
  metadata: { name: 'mizzen-validation-self-test', namespace, labels: { 'istio.io/rev': revision } },
  spec: {
    selector: { istio: 'none' },
    servers: [
      { port: { number: 80, name: 'same', protocol: 'HTTP' }, hosts: ['a.example'] },
      { port: { number: 81, name: 'same', protocol: 'HTTP' }, hosts: ['b.example'] },
    ],
  },
});

/**
 * Resolves once the API server refuses an invalid resource because of the webhook; nothing is stored (dry run).
 * Source: istio pkg/webhooks/validation/controller/controller.go isDryRunOfInvalidConfigRejected (1.32 dev).
 */
async function expectRefusal(options: WebhookRegistrationOptions): Promise<void> {
  try {
    await options.client.create(GATEWAY, invalidGateway(options), { dryRun: true });
  } catch (thrown) {
    if (isKubeError(thrown) && /admission webhook .* denied the request/.test(thrown.message)) return;
    throw new Error(`validation cannot be tested: ${errorMessage(thrown)}`);
  }
  throw new Error('validation does not work yet: an invalid Gateway was accepted (dry run)');
}
