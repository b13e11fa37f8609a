import { type Clock, CloseStack, type Logger, type Running, Watchable } from '@mizzen/core';
import { connectKubernetes, type KubeClient } from '@mizzen/kube';
import {
  type ConfigSource,
  createDiscovery,
  createIngressSource,
  createKubernetesConfigSource,
  createKubernetesCredentialSource,
  createKubernetesMeshConfigSource,
  createKubernetesRegistry,
  credentialNamesOf,
  type IngressSource,
  type KubernetesRegistry,
} from '@mizzen/sources';
import { followMesh } from './mesh-input.ts';
import type { ConfigInput, PipelineSources } from './pipeline.ts';
import type { ControlPlaneSettings } from './settings.ts';

/** What the controllers of the leader work with. */
export interface KubernetesHome {
  readonly client: KubeClient;
  /** Where each Ingress should say that it is reached. */
  readonly ingressStatuses: IngressSource['statuses'];
}

/**
 * A cluster: its objects of the mesh's kinds and its Ingresses, the ConfigMap with the mesh's configuration, its Services and Pods, and the
 * Secrets that are named. Rejects with MIZZEN_KUBERNETES where no API server is configured; waits for one that does not answer.
 */
export async function startKubernetesSources(
  settings: ControlPlaneSettings,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<Running & { readonly sources: Omit<PipelineSources, 'registered'>; readonly kubernetes: KubernetesHome }> {
  const { kubeconfig, context, podNamespace: namespace, clusterDomain: domain } = settings;
  const stack = new CloseStack();
  try {
    const client = stack.use(
      await connectKubernetes({ logger, ...(kubeconfig !== undefined && { kubeconfig }), ...(context !== undefined && { context }) }),
    );
    logger.info({ server: client.server, namespace }, 'reading the cluster');
    const base = { client, clock, logger };
    const meshSource = stack.use(createKubernetesMeshConfigSource({ ...base, namespace, configMap: settings.meshConfigMap }));
    await meshSource.start();
    const mesh = followMesh(meshSource, { ...settings, rootNamespace: settings.rootNamespace ?? namespace });
    const discovery = stack.use(createDiscovery({ ...base, mesh }));
    await discovery.start();

    const { isDiscovered } = discovery;
    const objects = stack.use(createKubernetesConfigSource({ ...base, isDiscovered }));
    const registry = stack.use(createKubernetesRegistry({ ...base, domain, mesh, isDiscovered }));
    await Promise.all([objects.start(), registry.start()]);
    const ingresses = stack.use(createIngressSource({ ...base, mesh, domain, namespace, services: registry.keptServices }));
    await ingresses.start();

    const config = joinConfig(objects.snapshot, ingresses.converted, registry.diagnostics);
    const credentialSource = stack.use(createKubernetesCredentialSource({ ...base, wanted: followCredentialNames(config) }));
    await credentialSource.start();
    return {
      sources: { config, mesh, credentials: credentialSource.snapshot, registries: [registry], domain },
      kubernetes: { client, ingressStatuses: ingresses.statuses },
      close: () => stack.close(),
    };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

function joinConfig(
  objects: ConfigSource['snapshot'],
  ingresses: IngressSource['converted'],
  ofServices: KubernetesRegistry['diagnostics'],
): Watchable<ConfigInput> {
  const read = (): ConfigInput => ({
    resources: [...objects.value.resources, ...ingresses.value.resources],
    diagnostics: [...objects.value.diagnostics, ...ingresses.value.diagnostics, ...ofServices.value],
  });
  const joined = new Watchable(read());
  for (const source of [objects, ingresses, ofServices]) source.watch(() => joined.set(read()));
  return joined;
}

function followCredentialNames(config: Watchable<ConfigInput>): Watchable<ReadonlySet<string>> {
  const isEqual = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => a.size === b.size && [...a].every((name) => b.has(name));
  const names = new Watchable(credentialNamesOf(config.value.resources), isEqual);
  config.watch(({ resources }) => names.set(credentialNamesOf(resources)));
  return names;
}
