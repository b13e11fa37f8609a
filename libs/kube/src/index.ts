// Types alone: of what the library describes, the parts that are the same in JSON.
export type { V1Ingress, V1IngressBackend, V1Pod, V1Service } from '@kubernetes/client-node';
export type { AccessOptions } from './access.ts';
export { type ConnectedKubeClient, type ConnectOptions, connectKubernetes } from './connect.ts';
export type {
  KubeClient,
  KubeKind,
  KubeMetadata,
  KubeName,
  KubeObject,
  LeaderElection,
  LeaderElectionOptions,
  ListOptions,
  Reflector,
  ReflectorOptions,
  RequestOptions,
  WatchEvent,
  WatchOptions,
} from './contract.ts';
export { KINDS_OF_KUBERNETES } from './kinds.ts';
export { isConflict, isKubeError, isNamespaceTerminating, isNotFound, KubeError } from './kube-error.ts';
export { createLeaderElection } from './leader-election.ts';
export { keyOfObject } from './paths.ts';
export { createReconciler, type Reconciler, type ReconcilerOptions } from './reconciler.ts';
export { createReflector } from './reflector.ts';
export { decodeSecretData, encodeSecretData } from './secret-data.ts';
