import { CloseStack, errorMessage, type Running } from '@mizzen/core';
import { createSvidManager, formatSpiffeId, type Svid, type SvidManager } from '@mizzen/identity';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { type AgentMetrics, createAgentMetrics } from './agent-metrics.ts';
import { isAppListening, waitForApp } from './app-readiness.ts';
import { buildBootstrap } from './bootstrap.ts';
import { ControlPlaneLink } from './control-plane-link.ts';
import { Departure } from './departure.ts';
import { startWorkloadDns, type WorkloadDns } from './dns/workload-dns.ts';
import { FileSecrets } from './file-secrets.ts';
import { startHealthChecks } from './health/start-health-checks.ts';
import { appEndpointsOf, neededListeners } from './interception.ts';
import { ListenerPorts } from './listener-ports.ts';
import { ListenerState } from './listener-state.ts';
import { createLocalConsumer } from './local-consumer.ts';
import { type AnnouncedPorts, buildNode } from './node.ts';
import type { AgentOptions, AgentPorts, ManagedProxy } from './options.ts';
import { type OwnPorts as OpenPorts, openOwnPorts } from './own-ports.ts';
import type { PortReservation } from './port-reservation.ts';
import { secretsOf } from './secret-messages.ts';

/** The agent of one workload: gives a proxy its identity, its bootstrap and its configuration, and takes it out of the mesh again. */
export interface Agent extends Running {
  /** Resolves once the workload is in the mesh and its proxy listens. On a failure everything that was started is closed. */
  start(): Promise<AgentPorts>;
  /** Leaves the mesh, lets requests under way end (bounded), and closes everything. */
  close(): Promise<void>;
}

// What is left once inbound connections are gone: the program's own idle connections, mostly.
const LAST_DRAIN_MS = 1000;

/** Does no I/O until `start`. */
export function createAgent(options: AgentOptions): Agent {
  return new WorkloadAgent(options);
}

/** `starting` → `serving` → `draining`: only in `serving` is the workload ready. */
type Phase = 'starting' | 'serving' | 'draining';

class WorkloadAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #metrics: AgentMetrics;
  readonly #listenerPorts: ListenerPorts;
  readonly #listeners = new ListenerState();
  readonly #stack = new CloseStack();
  readonly #closing = new AbortController();
  readonly #departure: Departure;
  #phase: Phase = 'starting';
  #proxy: ManagedProxy | undefined;
  #link: ControlPlaneLink | undefined;
  #dns: WorkloadDns | undefined;
  /** Whether the control plane may send others to the workload. */
  #isRegistering = true;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#metrics = createAgentMetrics(options.clock.now);
    this.#listenerPorts = new ListenerPorts(options);
    this.#departure = new Departure(options, () => this.#proxy);
  }

  async start(): Promise<AgentPorts> {
    const startedAt = this.#options.clock.monotonic();
    try {
      const identity = await this.#startIdentity();
      const ports = await this.#openOwnPorts();
      await this.#listenerPorts.reserve(this.#options);
      this.#stack.defer(() => this.#listenerPorts.release());
      const proxy = await this.#startProxy(ports, identity);
      const link = this.#createLink({ proxy, identity, ports });
      await this.#waitForApp(link, ports);
      await link.announce(this.#node(ports));
      startHealthChecks(this.#options, (failure) => link.reportHealth(failure), this.#stack);
      await this.#untilListening(proxy);
      this.#phase = 'serving';
      this.#metrics.setStartupMs(this.#options.clock.monotonic() - startedAt);
      return this.#describePorts(ports);
    } catch (thrown) {
      await this.#stack.close();
      throw thrown;
    }
  }

  async close(): Promise<void> {
    const wasInMesh = this.#phase !== 'starting';
    this.#phase = 'draining';
    this.#closing.abort();
    if (wasInMesh) await this.#leaveMesh();
    await this.#stack.close();
  }

  async #startIdentity(): Promise<SvidManager | undefined> {
    const { identity, workload, trustDomain, clock, random, logger } = this.#options;
    if (!identity) {
      logger.warn('without a CA the workload has no identity: it can neither serve nor call with mutual TLS; give --ca-address');
      return undefined;
    }
    const { namespace, serviceAccount } = workload;
    const spiffeId = formatSpiffeId({ trustDomain, namespace, serviceAccount });
    const manager = this.#stack.use(createSvidManager({ ...identity, spiffeId, clock, random, logger }));
    await manager.start({ signal: this.#closing.signal });
    return manager;
  }

  async #openOwnPorts(): Promise<OwnPorts> {
    const hooks = {
      metrics: this.#metrics,
      notReadyReason: () => this.#notReadyReason(),
      nameTable: () => this.#dns?.names.toJson(),
      onDrain: () => {
        // What is not in the mesh yet has nobody to say good-bye to.
        if (this.#phase === 'starting') return;
        this.#phase = 'draining';
        this.#departure.begin();
      },
    };
    const ports = await openOwnPorts(this.#options, hooks, this.#stack);
    const { pod } = this.#options;
    if (pod?.dns === undefined) return ports;
    this.#dns = this.#stack.use(await startWorkloadDns(pod.dns, this.#options, this.#metrics));
    return { ...ports, dns: this.#dns.port };
  }

  #notReadyReason(): string | undefined {
    if (this.#phase === 'draining') return 'draining';
    if (this.#phase === 'serving') return undefined;
    return `starting: ${this.#missing() ?? 'the configuration is not in force yet'}`;
  }

  /** What the control plane still owes. */
  #missing(): string | undefined {
    const listener = this.#listeners.missing(this.#listenerPorts.all(), neededListeners(this.#options.pod));
    if (listener !== undefined || this.#dns === undefined || this.#dns.names.index.value !== undefined) return listener;
    return 'the control plane has sent no name table yet';
  }

  async #startProxy(ports: OwnPorts, identity: SvidManager | undefined): Promise<ManagedProxy> {
    const { xdsAddress, telemetryAddress, terminationDrainDurationMs, createProxy, onQuit, clock, random, logger } = this.#options;
    const node = buildNode(this.#options, this.#announced(ports));
    const bootstrap = buildBootstrap({ node, adminHost: ports.admin.host, adminPort: ports.admin.port, xdsAddress, telemetryAddress });
    const drainTimeMs = Math.min(LAST_DRAIN_MS, terminationDrainDurationMs);
    const proxy = createProxy({ bootstrap, clock, random, logger, drainTimeMs, onQuit });
    this.#proxy = this.#stack.use(proxy);
    if (identity?.svid.value) this.#giveSvid(proxy, identity.svid.value);
    this.#stack.defer(identity?.svid.watch((svid) => svid && this.#giveSvid(proxy, svid)) ?? (() => undefined));
    ports.admin.release();
    await proxy.start();
    return proxy;
  }

  /** A proxy that refused the listener of an announced port is none that others may be told of. */
  async #untilListening(proxy: ManagedProxy): Promise<void> {
    const { signal } = this.#closing;
    await this.#dns?.names.index.until((index) => index !== undefined, { signal });
    await this.#listeners.inForce.until(() => this.#missing() === undefined, { signal });
    await proxy.ready.until((isReady) => isReady, { signal });
  }

  #giveSvid(proxy: ManagedProxy, svid: Svid): void {
    try {
      for (const secret of secretsOf(svid)) proxy.setSecret(secret.name, secret);
      this.#metrics.setSvid(svid);
    } catch (thrown) {
      this.#options.logger.error({ reason: errorMessage(thrown) }, 'the proxy cannot use the SVID; the one before stays in force');
    }
  }

  /**
   * An endpoint that is given out before its program listens is an error for whoever is sent to it. The program may have to ask other
   * services before it listens, though: until then the proxy has its configuration, and the workload is not registered.
   */
  async #waitForApp(link: ControlPlaneLink, ports: OwnPorts): Promise<void> {
    const { workload, appReadyTimeoutMs, clock } = this.#options;
    const app = appEndpointsOf(this.#options);
    if (workload.workloadGroup === undefined || (await isAppListening(app))) return;
    this.#isRegistering = false;
    await link.announce(this.#node(ports));
    await waitForApp(app, { timeoutMs: appReadyTimeoutMs, clock, signal: this.#closing.signal });
    this.#isRegistering = true;
    // The workload is in the mesh once the control plane has answered to its registration.
    this.#listeners.reset();
  }

  #createLink({ proxy, identity, ports }: { proxy: ManagedProxy; identity: SvidManager | undefined; ports: OwnPorts }): ControlPlaneLink {
    const { xdsAddress, trustDomain, clock, random, logger } = this.#options;
    const fileSecrets = new FileSecrets({
      deliver: (name, secret) => proxy.setSecret(name, secret),
      onFailure: () => this.#metrics.countFileSecretFailure(),
      clock,
      logger,
    });
    const consumer = createLocalConsumer({
      inner: proxy,
      reservations: () => this.#listenerPorts.all(),
      onListeners: (update, rejections) => this.#listeners.record(update, rejections),
      onSecretsWanted: (names) => fileSecrets.follow(names),
      onNames: this.#dns && ((update) => this.#dns?.names.apply(update) ?? []),
      onPortsTaken: (taken) => {
        this.#announceOtherPorts(taken, ports).catch((thrown: unknown) =>
          logger.error({ reason: errorMessage(thrown) }, 'no other port can be announced'),
        );
      },
    });
    const link = new ControlPlaneLink({
      address: xdsAddress,
      consumer,
      trustDomain,
      identity,
      metrics: this.#metrics,
      clock,
      random,
      logger,
    });
    this.#link = link;
    this.#stack.use(fileSecrets);
    this.#stack.use(link);
    return link;
  }

  async #announceOtherPorts(taken: readonly PortReservation[], ports: OwnPorts): Promise<void> {
    const { logger } = this.#options;
    const takenPorts = taken.map(({ port }) => port);
    if (!(await this.#listenerPorts.replace(taken))) return logger.error({ takenPorts }, 'a port was taken by another process; free it');
    logger.warn({ takenPorts }, 'a port was taken by another process; announcing others');
    await this.#link?.announce(this.#node(ports));
  }

  #node(ports: OwnPorts): Node {
    return buildNode(this.#options, this.#announced(ports), { isRegistering: this.#isRegistering });
  }

  #announced(ports: OwnPorts): AnnouncedPorts {
    return { ...this.#listenerPorts.announced(), admin: ports.admin.port, status: ports.status };
  }

  /**
   * First nobody new is sent here, then those who are here finish. A program that still answers may have to ask others first: what it
   * sends out goes on until then. Source: istio pkg/envoy/agent.go terminate (1.32).
   */
  async #leaveMesh(): Promise<void> {
    const { pod, workload } = this.#options;
    // Who is registered by the stream leaves with its end. A pod is taken out by others, and still needs to know where they are.
    if (pod === undefined || workload.workloadGroup !== undefined) await this.#link?.close();
    await this.#departure.end();
  }

  #describePorts(ports: OwnPorts): AgentPorts {
    const { inbound, httpProxy } = this.#listenerPorts.announced();
    const { portMap } = this.#options;
    return {
      ...(inbound.size === 0 ? {} : { inbound: record(inbound) }),
      ...(httpProxy === undefined ? {} : { httpProxy }),
      ...(portMap.size === 0 ? {} : { portMap: record(portMap) }),
      admin: ports.admin.port,
      status: ports.status,
      ...(ports.readiness !== undefined && { readiness: ports.readiness }),
      ...(ports.metrics !== undefined && { metrics: ports.metrics }),
      ...(ports.dns !== undefined && { dns: ports.dns }),
    };
  }
}

interface OwnPorts extends OpenPorts {
  readonly dns?: number;
}

function record(ports: ReadonlyMap<number, number>): Record<string, number> {
  return Object.fromEntries([...ports].map(([from, to]) => [String(from), to]));
}
