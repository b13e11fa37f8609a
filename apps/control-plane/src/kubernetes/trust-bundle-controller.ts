import { errorMessage, MizzenError, type Running } from '@mizzen/core';
import { TRUST_BUNDLE_CONFIG_MAP, trustBundleConfigMap, trustBundleIn } from '@mizzen/identity';
import { createReconciler, createReflector, isNamespaceTerminating, isNotFound, KINDS_OF_KUBERNETES } from '@mizzen/kube';
import { IGNORED_NAMESPACES } from '@mizzen/mesh-api';
import type { ControllerContext } from './controllers.ts';

const FIELD_MANAGER = 'mizzen-control-plane';
const WRITES_AT_ONCE = 8;

/** Keeps what the CA published in the root namespace equal in every other one that lives. */
export function runTrustBundleController(context: ControllerContext): Running {
  const { client, namespace: rootNamespace, logger } = context;
  const namespaces = createReflector<string>({
    client,
    logger,
    kind: KINDS_OF_KUBERNETES.Namespace,
    keep: ({ metadata, ...object }) => {
      const isTerminating = metadata.deletionTimestamp !== undefined || phaseOf(object) === 'Terminating';
      return isTerminating || IGNORED_NAMESPACES.has(metadata.name) ? undefined : metadata.name;
    },
  });
  const bundles = createReflector<string>({
    client,
    logger,
    kind: KINDS_OF_KUBERNETES.ConfigMap,
    fieldSelector: `metadata.name=${TRUST_BUNDLE_CONFIG_MAP}`,
    keep: trustBundleIn,
  });

  const reconcile = async (): Promise<void> => {
    if (!namespaces.synced.value || !bundles.synced.value) return;
    const bundleOf = (name: string): string | undefined => bundles.objects.value.get(`${name}/${TRUST_BUNDLE_CONFIG_MAP}`);
    const bundle = bundleOf(rootNamespace);
    if (bundle === undefined || bundle === '') return;
    const lacking = [...namespaces.objects.value.values()].filter((name) => name !== rootNamespace && bundleOf(name) !== bundle);
    await writeAll(lacking, bundle);
  };
  const writeAll = async (names: readonly string[], bundle: string): Promise<void> => {
    const left = [...names];
    const failures: string[] = [];
    const worker = async (): Promise<void> => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        await write(name, bundle).catch((thrown: unknown) => failures.push(errorMessage(thrown)));
      }
    };
    await Promise.all(Array.from({ length: WRITES_AT_ONCE }, worker));
    // One namespace that refuses does not keep the others from theirs.
    if (failures.length > 0) throw new MizzenError('MIZZEN_KUBERNETES', [...new Set(failures)].join('; '));
  };
  const write = async (namespace: string, bundle: string): Promise<void> => {
    try {
      await client.apply(KINDS_OF_KUBERNETES.ConfigMap, trustBundleConfigMap(namespace, bundle), {
        fieldManager: FIELD_MANAGER,
        force: true,
      });
      logger.debug({ namespace }, 'trust bundle written');
    } catch (thrown) {
      // The namespace has gone, or is going, since it was looked at.
      if (isNotFound(thrown) || isNamespaceTerminating(thrown)) return;
      throw thrown;
    }
  };

  const dependsOn = [namespaces.objects, namespaces.synced, bundles.objects, bundles.synced];
  const reconciler = createReconciler({ ...context, reconcile, dependsOn, failure: 'the trust bundle is not in every namespace' });
  namespaces.start();
  bundles.start();
  return {
    async close() {
      await reconciler.close();
      await Promise.all([namespaces.close(), bundles.close()]);
    },
  };
}

function phaseOf(object: Readonly<Record<string, unknown>>): unknown {
  return (object['status'] as Record<string, unknown> | undefined)?.['phase'];
}
