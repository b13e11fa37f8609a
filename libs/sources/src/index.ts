export {
  type Credential,
  type CredentialSnapshot,
  type CredentialSource,
  type CredentialSourceOptions,
  createCredentialSource,
} from './credential-source.ts';
export { createFileSource, type FileSourceOptions } from './file-source.ts';
export {
  createMeshConfigSource,
  type MeshConfigSnapshot,
  type MeshConfigSource,
  type MeshConfigSourceOptions,
} from './mesh-config-source.ts';
export { type ApplyResult, createResourceStore, type ResourceStore } from './resource-store.ts';
export { type ConfigSource, EMPTY_SNAPSHOT, type ResourceChange, type SourceSnapshot } from './source.ts';
export { createWorkloadRegistry, type WorkloadRegistry } from './workload-registry.ts';
