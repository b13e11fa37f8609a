import type { Clock, Logger, Random, Running, Watchable } from '@mizzen/core';
import { TRUST_BUNDLE_CONFIG_MAP, trustBundleConfigMap, trustBundleIn } from '@mizzen/identity';
import { createReconciler, createReflector, KINDS_OF_KUBERNETES, type KubeClient } from '@mizzen/kube';
import { type Authority, trustBundleOf } from '../authority.ts';

const FIELD_MANAGER = 'mizzen-ca';

/** Keeps the trust bundle in the ConfigMap of the CA's namespace; the control plane takes it from there to the others. */
export function publishTrustBundle(options: {
  client: KubeClient;
  namespace: string;
  authority: Watchable<Authority>;
  clock: Clock;
  random: Random;
  logger: Logger;
}): Running {
  const { client, namespace, authority } = options;
  const published = createReflector<string>({
    client,
    kind: KINDS_OF_KUBERNETES.ConfigMap,
    namespace,
    fieldSelector: `metadata.name=${TRUST_BUNDLE_CONFIG_MAP}`,
    logger: options.logger,
    keep: trustBundleIn,
  });
  const reconcile = async (): Promise<void> => {
    const bundle = trustBundleOf(authority.value);
    if (!published.synced.value || published.objects.value.get(`${namespace}/${TRUST_BUNDLE_CONFIG_MAP}`) === bundle) return;
    await client.apply(KINDS_OF_KUBERNETES.ConfigMap, trustBundleConfigMap(namespace, bundle), {
      fieldManager: FIELD_MANAGER,
      force: true,
    });
  };
  const dependsOn = [authority, published.objects, published.synced];
  const reconciler = createReconciler({ ...options, reconcile, dependsOn, failure: 'the trust bundle is not published' });
  published.start();
  return {
    async close() {
      await reconciler.close();
      await published.close();
    },
  };
}
