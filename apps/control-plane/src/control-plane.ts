import { type Clock, CloseStack, type Diagnostic, formatDiagnostic, type Logger, type Running, Watchable } from '@mizzen/core';
import { peerSpiffeId } from '@mizzen/identity';
import { PUSH_ORDER, TYPE_URL } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type ConnectedNode, createXdsServer, type ServerCredentials, type XdsServer, type XdsServerEvents } from '@mizzen/xds-server';
import { authorizeByIdentity } from './authorize.ts';
import { AutoRegistration, type RegisteredWorkloads, type RegistrationRequest } from './auto-registration.ts';
import { ConfigGenerator, type Credentials } from './config-generator.ts';
import { createDebugServer, listenDebug } from './debug-api.ts';
import { DiagnosticLog } from './diagnostic-log.ts';
import { createControlPlaneMetrics } from './metrics.ts';
import { Pipeline, type PipelineSources, type Publication, type Published } from './pipeline.ts';
import { rejectionDiagnostics } from './rejections.ts';
import { type ConfiguredResource, ResourceStatusTracker } from './resource-status.ts';

export interface ControlPlaneOptions {
  /** Configuration, mesh and credentials; workloads are registered by the control plane itself. */
  readonly sources: Omit<PipelineSources, 'registered'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
  /** Mutual TLS is served beside the plaintext: secrets then go only to those who proved who they are. */
  readonly hasIdentity: boolean;
  /** Which certificates a proven identity may be given. Default: all that its Gateways name. */
  readonly credentialsOfIdentity?: (identity: string, all: Credentials) => Credentials | undefined;
  /** Where the workloads are kept whose agents are connected. Default: in memory. */
  readonly registeredWorkloads?: RegisteredWorkloads;
  /** What is still missing, or undefined when everything that should be served is. */
  readonly notReady?: () => string | undefined;
  readonly debounceQuietMs: number;
  readonly debounceMaxMs: number;
  readonly disconnectGraceMs: number;
  readonly registrationSettleMs: number;
  readonly staleAfterMs: number;
}

export interface ControlPlane extends Running {
  readonly server: XdsServer;
  readonly registration: AutoRegistration;
  /** How far the sources are published: what whoever waits for a change to be in force looks at, with the server's status. */
  readonly publication: Pick<Watchable<Publication>, 'value' | 'watch' | 'until'>;
  /** What is in force. */
  published(): Published;
  /** Reads the resources with their status; a new function with every publication. */
  readonly resources: Watchable<() => readonly ConfiguredResource[]>;
  /** Everything that there is to say about the configuration now. */
  diagnostics(): readonly Diagnostic[];
  /** The answer of `credentialsOfIdentity` may have changed: proxies are sent what is different for them. */
  pushSecrets(): void;
  listenXds(at: { host: string; port: number; credentials?: ServerCredentials }): Promise<number>;
  listenDebug(at: { host: string; port: number }): Promise<number>;
  /**
   * Begins to follow the sources. Proxies that connect are answered once the others had time to register, counted from when
   * `reachable` resolves (default: now).
   */
  start(options?: { reachable?: Promise<unknown> }): void;
}

/** The control plane without its sources and ports: pipeline, xDS server, registration, status, debug pages. */
export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { clock, logger } = options;
  const stack = new CloseStack();
  const status = new ResourceStatusTracker();
  const log = new DiagnosticLog(logger);
  const proven = new WeakMap<Node, string>();

  const registration = new AutoRegistration({
    clock,
    logger,
    groups: () => pipeline.published.snapshot.workloadGroups,
    graceMs: options.disconnectGraceMs,
    onEvent: (event) => metrics.registration(event),
    ...(options.registeredWorkloads && { store: options.registeredWorkloads }),
  });
  const generator: ConfigGenerator = new ConfigGenerator({
    published: () => pipeline.published,
    credentialsOf(node, all) {
      if (!options.hasIdentity) return all;
      const identity = proven.get(node);
      if (identity === undefined) return undefined;
      return options.credentialsOfIdentity ? options.credentialsOfIdentity(identity, all) : all;
    },
  });
  const metrics = createControlPlaneMetrics({
    clock,
    version: options.version,
    connections: () => server.status(),
    published: () => pipeline.published,
  });

  const diagnostics = (): readonly Diagnostic[] =>
    unique([
      ...pipeline.published.diagnostics,
      ...generator.diagnostics,
      ...rejectionDiagnostics(server.status(), (node) => generator.viewOf(node)),
    ]);
  const report = (): (() => readonly ConfiguredResource[]) => () =>
    status.report(
      diagnostics(),
      server.status().map(({ appliedRevision }) => appliedRevision),
    );
  const resources = new Watchable(report());
  const requestOf = ({ connectionId, node, connectedAt }: ConnectedNode): RegistrationRequest => {
    const proxy = generator.proxyOf(node);
    return { connectionId, proxy, connectedAt, address: instanceAddress(node) ?? proxy.ip };
  };
  const events: XdsServerEvents = {
    ...metrics.xds,
    onConnect(connected) {
      logger.info({ node: connected.node.id, peer: connected.address, identity: connected.identity }, 'proxy connected');
      if (connected.identity !== undefined) proven.set(connected.node, connected.identity);
      registration.connected(requestOf(connected));
    },
    onDisconnect(connected, end) {
      logger.info({ node: connected.node.id, isGraceful: end.isGraceful }, 'proxy disconnected');
      generator.forget(connected.node);
      registration.disconnected(requestOf(connected), end);
    },
    onHealth(connected, health) {
      registration.reported(requestOf(connected), health);
    },
    onNack(connected, nacked) {
      metrics.xds.onNack?.(connected, nacked);
      log.update(diagnostics());
    },
    onApplied(connected, applied) {
      metrics.xds.onApplied?.(connected, applied);
      if (generator.takeNews()) log.update(diagnostics());
    },
  };
  const server: XdsServer = createXdsServer({
    generator,
    events,
    clock,
    logger,
    identify: peerSpiffeId,
    authorize: authorizeByIdentity(() => pipeline.published.snapshot.workloads.context.trustDomains),
    staleAfterMs: options.staleAfterMs,
  });
  const pipeline: Pipeline = new Pipeline({
    sources: { ...options.sources, registered: registration.entries },
    clock,
    quietMs: options.debounceQuietMs,
    maxMs: options.debounceMaxMs,
    push: (change) => server.push(change),
    events: {
      ...metrics.pipeline,
      onBuildError: (thrown) => logger.error({ err: thrown }, 'no snapshot could be built; the one before stays in force'),
      onPublish(published, about) {
        metrics.pipeline.onPublish?.(published, about);
        status.published(published.snapshot.resources, published.revision);
        registration.refresh();
        log.update(diagnostics());
        resources.set(report());
        logger.info(
          { revision: published.revision, reasons: [...about.reasons], buildMs: Math.round(about.buildMs) },
          'configuration published',
        );
      },
    },
  });
  const debug = createDebugServer({
    version: options.version,
    server,
    generator,
    metrics: metrics.registry,
    published: () => pipeline.published,
    isPending: () => pipeline.publication.value.isPending,
    diagnostics,
    resources: () => resources.value(),
    notReady: options.notReady ?? (() => undefined),
  });

  stack.defer(() => registration.close());
  stack.defer(() => pipeline.stop());
  stack.use(server);
  return {
    server,
    registration,
    published: () => pipeline.published,
    publication: pipeline.publication,
    resources,
    diagnostics,
    pushSecrets: () => server.push({ revision: pipeline.published.revision, typeUrls: new Set([TYPE_URL.secret]) }),
    listenXds: (at) => server.listen(at),
    async listenDebug(at) {
      return stack.use(await listenDebug(debug, at)).port;
    },
    start({ reachable = Promise.resolve() } = {}) {
      pipeline.start();
      // Workloads that are kept elsewhere are known before their agents come back.
      const hasGroups = pipeline.published.snapshot.workloadGroups.size > 0 && !options.registeredWorkloads;
      if (hasGroups && options.registrationSettleMs > 0) settle(server, { clock, delayMs: options.registrationSettleMs, reachable });
    },
    close: () => stack.close(),
  };
}

/**
 * Agents register by connecting. Until those of a mesh that already runs had time for it, an answer would take endpoints away that
 * are alive (and service accounts that clusters expect), so there is none. Without a WorkloadGroup nobody registers.
 */
function settle(server: XdsServer, options: { clock: Clock; delayMs: number; reachable: Promise<unknown> }): void {
  const release = server.hold(PUSH_ORDER);
  options.reachable.then(
    () => options.clock.after(options.delayMs, release),
    () => {},
  );
}

function instanceAddress(node: Node): string | undefined {
  const addresses = node.metadata?.['INSTANCE_IPS'];
  const first = typeof addresses === 'string' ? addresses.split(',', 1)[0] : undefined;
  return first === '' ? undefined : first;
}

function unique(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(diagnostics.map((diagnostic) => [formatDiagnostic(diagnostic), diagnostic])).values()];
}
