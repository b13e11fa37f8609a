import { type Clock, type Diagnostic, Watchable } from '@mizzen/core';
import type { MeshConfig, Resource } from '@mizzen/mesh-api';
import { buildMeshSnapshot, type MeshSnapshot, withWorkloads, workloadFromEntry } from '@mizzen/model';
import type { Registry } from '@mizzen/sources';
import { diagnoseSnapshot } from '@mizzen/translate';
import { TYPE_URL } from '@mizzen/xds-api';
import { Debouncer, type PushChange } from '@mizzen/xds-server';
import type { Credentials } from './config-generator.ts';

/** The reading side of a Watchable. */
export type Watched<T> = Pick<Watchable<T>, 'value' | 'watch'>;

/**
 * A configuration change, from the source to the proxies. Stage by stage; nothing calls backwards:
 *
 *  1. source     files or objects change             libs/sources            → resources, services, workloads, diagnostics
 *  2. validate   parse, schema, semantics            libs/sources, mesh-api    (what is bad keeps its last good version in force)
 *  3. debounce   100 ms quiet, 10 s at most          xds-server/debounce.ts  → one burst
 *  4. snapshot   immutable, indexed, diagnosed       libs/model, translate   → MeshSnapshot         `#snapshotOf` below
 *  5. view       what one proxy may see              libs/model              → ProxyView            config-generator.ts
 *  6. translate  view → xDS, pure                    libs/translate          → messages             config-generator.ts
 *  7. encode     bytes, version, shared              xds-server              → ResourceSet          config-generator.ts
 *  8. push       ordered, to each stream its part    xds-server/connection.ts
 *  9. status     ACK, NACK → the resource            resource-status.ts
 *
 * Stages 5 to 7 run when a stream's turn comes and are cached; 1 to 4 run once per burst, for all.
 * Workloads that come and go take a short cut: stage 4 keeps everything but endpoints, stage 8 pushes endpoints only.
 */
export interface PipelineSources {
  readonly config: Watched<ConfigInput>;
  readonly mesh: Watched<MeshInput>;
  readonly credentials: Watched<CredentialInput>;
  /** Workloads whose agents are connected, as WorkloadEntries; unchanged ones are the same objects. */
  readonly registered: Watched<readonly Resource<'WorkloadEntry'>[]>;
  /** DNS domain of the mesh's own hosts. Default `cluster.local`. */
  readonly domain?: string;
  /** Catalogues beside the configuration: a Kubernetes cluster. Unchanged services and workloads are the same objects. */
  readonly registries?: readonly Pick<Registry, 'services' | 'workloads'>[];
}

export interface ConfigInput {
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface MeshInput {
  readonly mesh: MeshConfig;
  readonly diagnostics: readonly Diagnostic[];
}

export interface CredentialInput {
  readonly credentials: Credentials;
  readonly diagnostics: readonly Diagnostic[];
}

/** What is in force: the input of everything that is generated. */
export interface Published {
  /** Counts publications, from 1. */
  readonly revision: number;
  readonly snapshot: MeshSnapshot;
  readonly credentials: Credentials;
  /** What there is to say about the resources among each other; new only with a new configuration. */
  readonly snapshotDiagnostics: readonly Diagnostic[];
  /** That, and what the sources have to say about their documents. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Why a push happens. Source: istio pilot/pkg/model TriggerReason (1.32), which these become in pilot_push_triggers. */
export type PushReason = 'config' | 'global' | 'service' | 'endpoint' | 'secret';

/** Reasons for which the whole snapshot is built anew. */
const FULL: readonly PushReason[] = ['config', 'global', 'service'];

/** How far publishing is; `isPending`: a change of an input waits to be in the next revision. */
export interface Publication {
  readonly revision: number;
  readonly isPending: boolean;
}

export interface PipelineEvents {
  onBuildError?(thrown: unknown): void;
  onChange?(reason: PushReason): void;
  onPublish?(published: Published, about: { reasons: ReadonlySet<PushReason>; waitedMs: number; buildMs: number }): void;
}

interface Built {
  readonly published: Published;
  readonly typeUrls: ReadonlySet<string> | 'all';
}

export interface PipelineOptions {
  readonly sources: PipelineSources;
  readonly clock: Clock;
  readonly quietMs?: number;
  readonly maxMs?: number;
  readonly push: (change: PushChange) => void;
  readonly events?: PipelineEvents;
}

/** Stages 3 and 4 and the order to push. Builds the first snapshot when it is made; `start` follows the sources from then on. */
export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #debouncer: Debouncer<PushReason>;
  readonly publication: Watchable<Publication>;
  #published: Published;
  #stops: (() => void)[] = [];

  constructor(options: PipelineOptions) {
    this.#options = options;
    const { clock, quietMs, maxMs } = options;
    this.#debouncer = new Debouncer(
      { clock, ...(quietMs !== undefined && { quietMs }), ...(maxMs !== undefined && { maxMs }) },
      (reasons, waitedMs) => this.#publish(new Set(reasons), waitedMs),
    );
    this.#published = this.#build(new Set(['global']), undefined).published;
    this.publication = new Watchable<Publication>({ revision: this.#published.revision, isPending: false });
  }

  get published(): Published {
    return this.#published;
  }

  start(): void {
    const { config, mesh, credentials, registered, registries = [] } = this.#options.sources;
    const changed = (reason: PushReason) => (): void => {
      this.#options.events?.onChange?.(reason);
      this.#debouncer.add(reason);
      this.#tellPublication();
    };
    this.#stops = [
      config.watch(changed('config')),
      mesh.watch(changed('global')),
      credentials.watch(changed('secret')),
      registered.watch(changed('endpoint')),
      ...registries.map(({ services }) => services.watch(changed('service'))),
      ...registries.map(({ workloads }) => workloads.watch(changed('endpoint'))),
    ];
    // What changed between the making and now.
    this.#debouncer.add('global');
    this.#debouncer.flush();
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#debouncer.cancel();
  }

  #publish(reasons: ReadonlySet<PushReason>, waitedMs: number): void {
    const { clock, events, push } = this.#options;
    const startedAt = clock.monotonic();
    const built = this.#tryBuild(reasons);
    if (built) {
      const { published, typeUrls } = built;
      this.#published = published;
      events?.onPublish?.(published, { reasons, waitedMs, buildMs: clock.monotonic() - startedAt });
      push({ revision: published.revision, typeUrls });
    }
    this.#tellPublication();
  }

  #tellPublication(): void {
    this.publication.set({ revision: this.#published.revision, isPending: this.#debouncer.isPending });
  }

  /** A mistake of ours must not end the process: what was published stays in force. */
  #tryBuild(reasons: ReadonlySet<PushReason>): Built | undefined {
    try {
      return this.#build(reasons, this.#published);
    } catch (thrown) {
      this.#options.events?.onBuildError?.(thrown);
      return undefined;
    }
  }

  #build(
    reasons: ReadonlySet<PushReason>,
    previous: Published | undefined,
  ): { published: Published; typeUrls: ReadonlySet<string> | 'all' } {
    const { config, mesh, credentials } = this.#options.sources;
    const { snapshot, typeUrls } = this.#snapshotOf(reasons, previous?.snapshot);
    const snapshotDiagnostics = typeUrls === 'all' || !previous ? diagnoseSnapshot(snapshot) : previous.snapshotDiagnostics;
    return {
      published: {
        revision: (previous?.revision ?? 0) + 1,
        snapshot,
        credentials: credentials.value.credentials,
        snapshotDiagnostics,
        diagnostics: [...config.value.diagnostics, ...mesh.value.diagnostics, ...credentials.value.diagnostics, ...snapshotDiagnostics],
      },
      typeUrls,
    };
  }

  #snapshotOf(
    reasons: ReadonlySet<PushReason>,
    previous: MeshSnapshot | undefined,
  ): { snapshot: MeshSnapshot; typeUrls: ReadonlySet<string> | 'all' } {
    const { config, mesh, registered, registries = [], domain } = this.#options.sources;
    const workloads = [...registered.value.map(workloadFromEntry), ...registries.flatMap((registry) => registry.workloads.value)];
    if (!previous || FULL.some((reason) => reasons.has(reason))) {
      const services = registries.flatMap((registry) => registry.services.value);
      const inputs = {
        mesh: mesh.value.mesh,
        resources: config.value.resources,
        services,
        workloads,
        ...(domain !== undefined && { domain }),
      };
      const snapshot = buildMeshSnapshot(inputs, previous);
      return { snapshot, typeUrls: 'all' };
    }
    const typeUrls = new Set<string>();
    if (reasons.has('secret')) typeUrls.add(TYPE_URL.secret);
    if (!reasons.has('endpoint')) return { snapshot: previous, typeUrls };
    const change = withWorkloads(previous, workloads);
    typeUrls.add(TYPE_URL.endpoint);
    // The service accounts that clients expect of a service stand in its cluster.
    if (change.clusterHosts.size > 0) typeUrls.add(TYPE_URL.cluster);
    // The addresses of headless endpoints stand in listeners and in the name table.
    if (change.headlessHosts.size > 0) for (const typeUrl of [TYPE_URL.listener, TYPE_URL.nameTable]) typeUrls.add(typeUrl);
    return { snapshot: change.snapshot, typeUrls };
  }
}
