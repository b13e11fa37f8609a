export type { Credential } from './credential.ts';
export {
  type CredentialSnapshot,
  type CredentialSource,
  type CredentialSourceOptions,
  createCredentialSource,
} from './credential-source.ts';
export { createFileSource, type FileSourceOptions } from './file-source.ts';
export { createKubernetesConfigSource, type KubernetesConfigOptions } from './kubernetes/config-source.ts';
export { credentialNamesOf } from './kubernetes/credential-names.ts';
export { createDiscovery, type Discovery, type DiscoveryOptions, type NamespaceFilter } from './kubernetes/discovery.ts';
export { createIngressSource, type IngressSource, type IngressSourceOptions, type IngressStatus } from './kubernetes/ingress-source.ts';
export { createKubernetesMeshConfigSource, type KubernetesMeshConfigOptions } from './kubernetes/mesh-config-source.ts';
export { createKubernetesRegistry, type KubernetesRegistry, type KubernetesRegistryOptions } from './kubernetes/registry.ts';
export { createKubernetesCredentialSource, type KubernetesCredentialOptions } from './kubernetes/secret-source.ts';
export {
  createMeshConfigSource,
  type MeshConfigSnapshot,
  type MeshConfigSource,
  type MeshConfigSourceOptions,
} from './mesh-config-source.ts';
export type { Registry } from './registry.ts';
export { type ApplyResult, createResourceStore, type ResourceStore } from './resource-store.ts';
export { type ConfigSource, EMPTY_SNAPSHOT, type ResourceChange, type SourceSnapshot } from './source.ts';
export { createWorkloadRegistry, type WorkloadRegistry } from './workload-registry.ts';
