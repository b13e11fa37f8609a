import { type Clock, type Diagnostic, type Logger, Watchable } from '@mizzen/core';
import { createReflector, KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import { defaultMeshConfig, parseMeshConfig } from '@mizzen/mesh-api';
import type { MeshConfigSnapshot, MeshConfigSource } from '../mesh-config-source.ts';

export interface KubernetesMeshConfigOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where the control plane runs. */
  readonly namespace: string;
  /** Default `istio`, as Istio's. */
  readonly configMap?: string;
}

interface KeptConfigMap {
  readonly mesh: string;
  readonly meshNetworks: string;
}

/**
 * The mesh's configuration from the key `mesh` of a ConfigMap, followed. Without the ConfigMap the defaults are in force; text that is not
 * valid is a diagnostic, and the last valid one stays.
 */
export function createKubernetesMeshConfigSource(options: KubernetesMeshConfigOptions): MeshConfigSource {
  const { client, clock, logger, namespace, configMap = 'istio' } = options;
  const snapshot = new Watchable<MeshConfigSnapshot>({ meshConfig: defaultMeshConfig(), diagnostics: [], revision: 0 });
  const reflector = createReflector({
    client,
    clock,
    logger,
    kind: KINDS_OF_KUBERNETES.ConfigMap,
    namespace,
    fieldSelector: `metadata.name=${configMap}`,
    keep: keepConfigMap,
  });
  const read = (objects: ReadonlyMap<string, KeptConfigMap>): void => {
    const { mesh, meshNetworks } = objects.get(`${namespace}/${configMap}`) ?? NO_CONFIG_MAP;
    const place = `ConfigMap/${namespace}/${configMap}`;
    const { meshConfig, diagnostics: ofMesh } = parseMeshConfig(mesh, place, { home: 'kubernetes' });
    const diagnostics = [...ofMesh, ...diagnoseNetworks(meshNetworks, place)];
    const revision = snapshot.value.revision + 1;
    logger.info({ revision, diagnostics: diagnostics.length }, 'mesh configuration read');
    snapshot.set({ meshConfig: meshConfig ?? snapshot.value.meshConfig, diagnostics, revision });
  };
  return {
    snapshot,
    synced: reflector.synced,
    async start({ signal } = {}) {
      reflector.objects.watch(read);
      reflector.start();
      await reflector.synced.until((isSynced) => isSynced, signal && { signal });
    },
    close: () => reflector.close(),
  };
}

const NO_CONFIG_MAP: KeptConfigMap = { mesh: '', meshNetworks: '' };

function keepConfigMap(object: KubeObject): KeptConfigMap {
  const { mesh = '', meshNetworks = '' } = (object['data'] ?? {}) as Partial<KeptConfigMap>;
  return { mesh, meshNetworks };
}

/** Istio's own installation writes `networks: {}`, which says nothing. */
function diagnoseNetworks(text: string, file: string): Diagnostic[] {
  if (/^\s*(networks:\s*(\{\s*\})?\s*)?$/.test(text)) return [];
  return [
    {
      code: 'unsupported-field',
      severity: 'warning',
      message: 'meshNetworks is valid but not supported yet; it has no effect',
      position: { file, line: 1 },
    },
  ];
}
