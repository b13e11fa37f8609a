import { type Clock, type Diagnostic, formatDiagnostic, type Logger, type Random, type Running, Watchable } from '@mizzen/core';
import { DEFAULT_INJECTOR_CONFIG, haveNativeSidecars, type InjectorConfig, parseInjectorConfig } from '@mizzen/injection';
import { createReflector, KINDS_OF_KUBERNETES, type KubeClient, type KubeObject, type Reflector } from '@mizzen/kube';
import { defaultMeshConfig, kubeKindOf, type MeshConfig, parseMeshConfig, parseResource, type Resource } from '@mizzen/mesh-api';
import { nameForRevision } from './settings.ts';

/** Everything that injection depends on, followed in the cluster. */
export interface InjectorState extends Running {
  readonly config: Watchable<InjectorConfig>;
  readonly meshConfig: Watchable<MeshConfig>;
  readonly proxyConfigs: () => readonly Resource<'ProxyConfig'>[];
  /** Whether all nodes keep init containers with `restartPolicy: Always` running. */
  readonly clusterHasNativeSidecars: () => boolean;
  /** Whether all of it was read once. */
  readonly isSynced: () => boolean;
  start(): void;
}

export interface InjectorStateOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly revision: string;
  readonly onConfigUpdate: (isValid: boolean) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Follows the ConfigMaps `mizzen-injector` and `istio`, ProxyConfig resources and nodes. What is wrong is logged; what was right stays. */
export function createInjectorState(options: InjectorStateOptions): InjectorState {
  const { namespace, revision } = options;
  // The revision is this process's own, whatever a ConfigMap says of it.
  const withRevision = (read: InjectorConfig): InjectorConfig => ({ ...read, values: { ...read.values, revision } });
  const config = new Watchable<InjectorConfig>(withRevision(DEFAULT_INJECTOR_CONFIG));
  const meshConfig = new Watchable<MeshConfig>(defaultMeshConfig());

  const injectorMap = followConfigMap(nameForRevision('mizzen-injector', revision), options, ({ values, templates }) => {
    const parsed = parseInjectorConfig({ values, templates });
    if (parsed.config) config.set(withRevision(parsed.config));
    return parsed.diagnostics;
  });
  const meshMap = followConfigMap(nameForRevision('istio', revision), options, ({ mesh = '' }) => {
    const parsed = parseMeshConfig(mesh, `ConfigMap ${namespace}/istio, key mesh`, { home: 'kubernetes' });
    if (parsed.meshConfig) meshConfig.set(parsed.meshConfig);
    return parsed.diagnostics;
  });
  const { client, clock, random, logger } = options;
  const shared = { client, clock, random, logger };
  const proxyConfigs = createReflector({ ...shared, kind: PROXY_CONFIG, isOptional: true, keep: readProxyConfig });
  const nodes = createReflector({ ...shared, kind: KINDS_OF_KUBERNETES.Node, keep: kubeletVersionOf });
  const all: readonly Pick<Reflector<string>, 'synced' | 'start' | 'close'>[] = [injectorMap, meshMap, proxyConfigs, nodes];
  return {
    config,
    meshConfig,
    proxyConfigs: () => [...proxyConfigs.objects.value.values()],
    clusterHasNativeSidecars: () => haveNativeSidecars([...nodes.objects.value.values()]),
    isSynced: () => all.every(({ synced }) => synced.value),
    start() {
      for (const reflector of all) reflector.start();
    },
    async close() {
      await Promise.all(all.map((reflector) => reflector.close()));
    },
  };
}

type ConfigMapData = Readonly<Record<string, string | undefined>>;

/** Calls `read` with the data whenever they change; a ConfigMap that goes leaves what it said in force. */
function followConfigMap(
  name: string,
  options: InjectorStateOptions,
  read: (data: ConfigMapData) => readonly Diagnostic[],
): Reflector<ConfigMapData> {
  const { client, namespace, clock, random, logger, onConfigUpdate } = options;
  const reflector = createReflector<ConfigMapData>({
    client,
    kind: KINDS_OF_KUBERNETES.ConfigMap,
    namespace,
    fieldSelector: `metadata.name=${name}`,
    keep: (object) => (object['data'] ?? {}) as ConfigMapData,
    clock,
    random,
    logger,
  });
  reflector.objects.watch((objects) => {
    const data = objects.get(`${namespace}/${name}`);
    if (!data) {
      logger.warn({ configMap: name }, 'the ConfigMap is gone; what it said stays in force');
      return;
    }
    const diagnostics = read(data);
    const isValid = !diagnostics.some(({ severity }) => severity === 'error');
    onConfigUpdate(isValid);
    for (const diagnostic of diagnostics)
      logger.warn({ configMap: name, diagnostic: formatDiagnostic(diagnostic) }, 'the ConfigMap has a mistake');
    if (isValid) logger.info({ configMap: name }, 'configuration read');
    else logger.error({ configMap: name }, 'the ConfigMap cannot be used; what it said before stays in force');
  });
  return reflector;
}

const PROXY_CONFIG = kubeKindOf('ProxyConfig');

function readProxyConfig(object: KubeObject): Resource<'ProxyConfig'> | undefined {
  return parseResource({ value: object, file: '', line: 1, lineOf: () => 1 }).resource as Resource<'ProxyConfig'> | undefined;
}

function kubeletVersionOf(object: KubeObject): string {
  const { status } = object as { readonly status?: { readonly nodeInfo?: { readonly kubeletVersion?: string } } };
  return status?.nodeInfo?.kubeletVersion ?? '';
}
