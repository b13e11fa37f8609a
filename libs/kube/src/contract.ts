import type { Clock, Logger, Random, Running, Watchable } from '@mizzen/core';

/** A kind of object as the API server addresses it. */
export interface KubeKind {
  /** `v1`, `apps/v1`, `networking.istio.io/v1`. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly isNamespaced: boolean;
}

export interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly uid: string }[];
  readonly finalizers?: readonly string[];
}

/** Any object of the API, as JSON. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: KubeMetadata;
  readonly [field: string]: unknown;
}

export interface KubeName {
  readonly name: string;
  /** Left out for objects without a namespace. */
  readonly namespace?: string;
}

/**
 * One API server with the caller's credentials. Every method rejects with a `KubeError`: `status` is the HTTP status (0: no answer), `reason`
 * what the server calls it (`NotFound`, `AlreadyExists`, `Conflict`, `Expired`, `Forbidden`, …), the message says what was asked and why it failed.
 */
export interface KubeClient {
  /** Where the API server is, for messages. */
  readonly server: string;
  get<T extends KubeObject>(kind: KubeKind, name: KubeName): Promise<T>;
  /** Undefined where there is none. */
  find<T extends KubeObject>(kind: KubeKind, name: KubeName): Promise<T | undefined>;
  /** All of them, page by page. */
  list<T extends KubeObject>(kind: KubeKind, options?: ListOptions): Promise<readonly T[]>;
  create<T extends KubeObject>(kind: KubeKind, object: T, options?: { readonly dryRun?: boolean }): Promise<T>;
  /** Replaces; a `metadata.resourceVersion` that is old gives `Conflict`. */
  replace<T extends KubeObject>(kind: KubeKind, object: T): Promise<T>;
  /** Server-side apply. `fieldManager` owns what it gives; `force` takes fields over. */
  apply<T extends KubeObject>(
    kind: KubeKind,
    object: T,
    options: { readonly fieldManager: string; readonly force?: boolean; readonly dryRun?: boolean },
  ): Promise<T>;
  /** JSON merge patch (RFC 7396); `subresource`: `status`. */
  patch<T extends KubeObject>(kind: KubeKind, name: KubeName, patch: unknown, options?: { readonly subresource?: string }): Promise<T>;
  /** True where there was one. */
  delete(kind: KubeKind, name: KubeName, options?: { readonly propagation?: 'Foreground' | 'Background' | 'Orphan' }): Promise<boolean>;
  /** Any other call (TokenReview, SubjectAccessReview, TokenRequest, discovery, /version). */
  request<T>(options: RequestOptions): Promise<T>;
  /** Opens a watch: resolves once the server answers 200; ends by itself, by an error, or by `signal`. Reflectors are what most want. */
  watch(kind: KubeKind, options: WatchOptions): Promise<AsyncIterable<WatchEvent>>;
}

export interface ListOptions {
  readonly namespace?: string;
  /** Only names, versions, labels and annotations are sent, not the objects' content. Default false. */
  readonly isMetadataOnly?: boolean;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface RequestOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Default `application/json`. */
  readonly accept?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

export interface WatchOptions extends ListOptions {
  readonly resourceVersion: string;
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: KubeObject;
}

/** Follows all objects of a kind; survives errors, 410 Gone, restarts of the API server and silence. It never empties because the server is away. */
export interface Reflector<T> extends Running {
  /** By `namespace/name` (or `name`). A new map after each burst of changes; an object that did not change stays the same object. */
  readonly objects: Watchable<ReadonlyMap<string, T>>;
  /** Whether everything was listed at least once. */
  readonly synced: Watchable<boolean>;
  start(): void;
}

export interface ReflectorOptions<T> extends ListOptions {
  readonly client: KubeClient;
  readonly kind: KubeKind;
  /** What is kept of an object: only the fields in use. Undefined forgets the object. */
  readonly keep: (object: KubeObject) => T | undefined;
  /**
   * The kind may not exist (its CRD is not installed): that counts as synced and empty, and is tried again. Default false: it is an error
   * that is logged and tried again.
   */
  readonly isOptional?: boolean;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** Leadership by a coordination.k8s.io Lease. */
export interface LeaderElection extends Running {
  readonly isLeader: Watchable<boolean>;
  start(): void;
}

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Who we are: the pod's name. */
  readonly identity: string;
  /** Unit: ms. Default 15 s. */
  readonly leaseDurationMs?: number;
  /** Unit: ms. Default 10 s: a leader that could not renew for so long stops being one. */
  readonly renewDeadlineMs?: number;
  /** Unit: ms. Default 2 s. */
  readonly retryPeriodMs?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default: silent. */
  readonly logger?: Logger;
}
