import { type Clock, CloseStack, type Diagnostic, type Logger, Watchable } from '@mizzen/core';
import { createReflector, type KubeClient, type Reflector } from '@mizzen/kube';
import { KIND_NAMES, type Kind, kubeKindOf, type Resource, refOf } from '@mizzen/mesh-api';
import { type ConfigSource, EMPTY_SNAPSHOT, type ResourceChange, type SourceSnapshot } from '../source.ts';
import type { NamespaceFilter } from './discovery.ts';
import { keepWritten, parseObject, type WrittenObject } from './parse-object.ts';

export interface KubernetesConfigOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Namespaces that count; default all. */
  readonly isDiscovered?: Pick<Watchable<NamespaceFilter>, 'value' | 'watch'>;
}

interface Known {
  readonly written: WrittenObject;
  /** In force; older than what is written where that is invalid. */
  readonly resource?: Resource;
  readonly diagnostics: readonly Diagnostic[];
}

/** All objects of one kind, parsed. */
interface KindState {
  readonly byName: ReadonlyMap<string, Known>;
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
}

const NOTHING: KindState = { byName: new Map(), resources: [], diagnostics: [] };

/**
 * The configuration as objects of the Kubernetes API: every kind in all namespaces. An object that is invalid (it was there before the
 * webhook, or came around it) is a diagnostic, and the last valid version of it that this process saw stays in force. A kind whose CRD is
 * not installed is empty.
 */
export function createKubernetesConfigSource(options: KubernetesConfigOptions): ConfigSource {
  return new KubernetesConfigSource(options);
}

class KubernetesConfigSource implements ConfigSource {
  readonly name = 'kubernetes';
  readonly snapshot = new Watchable<SourceSnapshot>(EMPTY_SNAPSHOT);
  readonly synced = new Watchable(false);
  readonly #logger: Logger;
  readonly #isDiscovered: KubernetesConfigOptions['isDiscovered'];
  readonly #reflectors: ReadonlyMap<Kind, Reflector<WrittenObject>>;
  readonly #states = new Map<Kind, KindState>();
  readonly #stack = new CloseStack();

  constructor({ client, clock, logger, isDiscovered }: KubernetesConfigOptions) {
    this.#logger = logger;
    this.#isDiscovered = isDiscovered;
    this.#reflectors = new Map(
      [...KIND_NAMES]
        .sort()
        .map((kind) => [kind, createReflector({ client, kind: kubeKindOf(kind), keep: keepWritten, isOptional: true, clock, logger })]),
    );
  }

  async start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    for (const [kind, reflector] of this.#reflectors) {
      this.#stack.use(reflector);
      this.#stack.defer(reflector.objects.watch((objects) => this.#read(kind, objects)));
      reflector.start();
    }
    await Promise.all([...this.#reflectors.values()].map(({ synced }) => synced.until((isSynced) => isSynced, signal && { signal })));
    if (this.#isDiscovered) this.#stack.defer(this.#isDiscovered.watch(() => this.#publish()));
    this.#publish();
    this.synced.set(true);
  }

  close(): Promise<void> {
    return this.#stack.close();
  }

  #read(kind: Kind, objects: ReadonlyMap<string, WrittenObject>): void {
    this.#states.set(kind, readKind(objects, this.#states.get(kind) ?? NOTHING));
    // The first one is given out once it is whole.
    if (this.synced.value) this.#publish();
  }

  #publish(): void {
    const states = [...this.#reflectors.keys()].map((kind) => this.#states.get(kind) ?? NOTHING);
    const isDiscovered = this.#isDiscovered?.value ?? (() => true);
    const resources = states.flatMap((state) => state.resources.filter(({ metadata }) => isDiscovered(metadata.namespace)));
    const diagnostics = states.flatMap((state) => state.diagnostics.filter(({ resource }) => isDiscovered(resource?.namespace ?? '')));
    const revision = this.snapshot.value.revision + 1;
    const changes = changesBetween(this.snapshot.value.resources, resources);
    this.#logger.info(
      { revision, resources: resources.length, changes: changes.length, diagnostics: diagnostics.length },
      'configuration read',
    );
    this.snapshot.set(Object.freeze({ resources, diagnostics, revision, changes }));
  }
}

function readKind(objects: ReadonlyMap<string, WrittenObject>, before: KindState): KindState {
  const byName = new Map<string, Known>();
  for (const name of [...objects.keys()].sort()) {
    const written = objects.get(name);
    const known = before.byName.get(name);
    if (written) byName.set(name, known?.written === written ? known : readObject(written, known));
  }
  const all = [...byName.values()];
  return { byName, resources: all.flatMap(({ resource }) => resource ?? []), diagnostics: all.flatMap(({ diagnostics }) => diagnostics) };
}

function readObject(written: WrittenObject, before: Known | undefined): Known {
  const { resource = before?.resource, diagnostics } = parseObject(written);
  return { written, ...(resource && { resource }), diagnostics };
}

function changesBetween(before: readonly Resource[], after: readonly Resource[]): ResourceChange[] {
  const known = new Map(before.map((resource) => [keyOf(resource), resource]));
  const changes: ResourceChange[] = [];
  for (const resource of after) {
    if (known.get(keyOf(resource)) !== resource) changes.push({ type: 'upsert', resource });
    known.delete(keyOf(resource));
  }
  return [...changes, ...[...known.values()].map((resource): ResourceChange => ({ type: 'delete', ref: refOf(resource) }))];
}

function keyOf({ kind, metadata: { namespace, name } }: Resource): string {
  return `${kind}/${namespace}/${name}`;
}
