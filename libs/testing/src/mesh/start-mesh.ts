import { type ControlPlane, createControlPlane } from '@mizzen/control-plane';
import { CloseStack, type ResourceRef, silentLogger, systemClock, Watchable } from '@mizzen/core';
import { defaultMeshConfig, type MeshConfig } from '@mizzen/mesh-api';
import { type MeshGateway, startGateway } from './gateway.ts';
import type { Answer, ProxiedRequest } from './http-client.ts';
import { type MeshIdentity, startIdentity } from './identity.ts';
import { MemoryConfig, readMeshConfig } from './memory-config.ts';
import { expectNothingLeftOpen, openResources } from './open-resources.ts';
import type { MeshOptions } from './options.ts';
import type { MeshContext, Proxied } from './proxied.ts';
import { planWorkloads, serviceResources, type WorkloadPlan } from './service-resources.ts';
import { untilSettled } from './settled.ts';
import { type RunningWorkload, startWorkload, type Workload } from './workload.ts';

/** A whole mesh in this process: the real control plane, CA, agents and proxies over real sockets, and programs that echo. */
export interface Mesh extends AsyncDisposable {
  readonly controlPlane: ControlPlane;
  /** `host:port` of xDS without TLS, for clients that the mesh did not start. */
  readonly xdsAddress: string;
  /** Undefined where the mesh was started without a CA. */
  readonly identity: MeshIdentity | undefined;
  /** Throws where the mesh was started without one. */
  readonly gateway: MeshGateway;
  /** By `<service>-<version>`, or by the service for its first version. */
  workload(name: string): Workload;
  /** Adds or replaces resources; resolves with their names once they are in force everywhere. */
  apply(yaml: string): Promise<readonly ResourceRef[]>;
  delete(...refs: readonly ResourceRef[]): Promise<void>;
  /** Runs `use` while the resources are in force, and takes them away again. */
  with<T>(yaml: string, use: () => Promise<T>): Promise<T>;
  setMeshConfig(yaml: string): Promise<void>;
  /** Every connected proxy, whoever started it, has answered the newest revision. Rejects after `timeoutMs` (default 25,000) with what is missing. */
  settled(timeoutMs?: number): Promise<void>;
  call(request: ProxiedRequest & { readonly from: string }): Promise<Answer>;
  /** Takes a workload out of the mesh as its agent does on SIGTERM. */
  stop(name: string): Promise<void>;
  /** Brings a workload back that was stopped. */
  start(name: string): Promise<void>;
  /** Closes everything; rejects where something is left open. */
  [Symbol.asyncDispose](): Promise<void>;
}

const SETTLE_TIMEOUT_MS = 25_000;

/** Resolves once every workload is registered and every proxy has its configuration. Disposing of it asserts that nothing is left open. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const before = openResources();
  const stack = new CloseStack();
  try {
    return await InProcessMesh.start(options, { stack, close: () => stack.close().then(() => expectNothingLeftOpen(before)) });
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

// Without identities nobody can speak mutual TLS, and inbound listeners would wait for a certificate.
const PLAINTEXT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
`;

interface MeshConfigValue {
  readonly mesh: MeshConfig;
  readonly diagnostics: readonly [];
}

interface Parts {
  readonly controlPlane: ControlPlane;
  readonly config: MemoryConfig;
  readonly meshConfig: Watchable<MeshConfigValue>;
  readonly context: MeshContext;
  readonly xdsAddress: string;
  readonly close: () => Promise<void>;
}

class InProcessMesh implements Mesh {
  readonly controlPlane: ControlPlane;
  readonly xdsAddress: string;
  readonly #parts: Parts;
  readonly #plans: readonly WorkloadPlan[];
  readonly #running = new Map<string, RunningWorkload>();
  readonly #goneNodeIds = new Set<string>();
  #gateway: { readonly gateway: MeshGateway; readonly proxied: Proxied } | undefined;

  private constructor(parts: Parts, plans: readonly WorkloadPlan[]) {
    this.controlPlane = parts.controlPlane;
    this.xdsAddress = parts.xdsAddress;
    this.#parts = parts;
    this.#plans = plans;
  }

  /** In the order in which each needs the one before it: CA, control plane, workloads, gateway. */
  static async start(options: MeshOptions, { stack, close }: { stack: CloseStack; close: () => Promise<void> }): Promise<InProcessMesh> {
    const { services, hasIdentity = true, hasGateway = false, telemetryAddress } = options;
    const logger = silentLogger;
    const config = new MemoryConfig();
    config.apply(`${serviceResources(services)}---\n${hasIdentity ? '' : PLAINTEXT}---\n${options.config ?? ''}`);
    const mesh = options.meshConfig === undefined ? defaultMeshConfig() : readMeshConfig(options.meshConfig);
    const meshConfig = new Watchable<MeshConfigValue>({ mesh, diagnostics: [] });
    const { trustDomain } = mesh;

    const identity = hasIdentity ? stack.use(await startIdentity(trustDomain, logger)) : undefined;
    const controlPlane = stack.use(
      createControlPlane({
        sources: {
          config: config.snapshot,
          mesh: meshConfig,
          credentials: new Watchable({ credentials: options.credentials ?? new Map(), diagnostics: [] }),
        },
        clock: systemClock,
        logger,
        version: 'test',
        hasIdentity,
        debounceQuietMs: 5,
        debounceMaxMs: 50,
        disconnectGraceMs: 0,
        registrationSettleMs: 0,
        staleAfterMs: 5_000,
      }),
    );
    controlPlane.start();
    const at = { host: '127.0.0.1', port: 0 };
    const plainPort = await controlPlane.listenXds(at);
    const port = identity ? await controlPlane.listenXds({ ...at, credentials: await identity.controlPlaneCredentials() }) : plainPort;
    const context = { trustDomain, identity, xdsAddress: `127.0.0.1:${port}`, telemetryAddress, logger };

    const parts = { controlPlane, config, meshConfig, context, xdsAddress: `127.0.0.1:${plainPort}`, close };
    const started = new InProcessMesh(parts, planWorkloads(services));
    stack.defer(() => started.#closeProxies());
    await Promise.all(started.#plans.map(({ name }) => started.#startWorkload(name)));
    if (hasGateway) started.#gateway = await startGateway(context);
    await started.settled();
    return started;
  }

  get identity(): MeshIdentity | undefined {
    return this.#parts.context.identity;
  }

  get gateway(): MeshGateway {
    if (!this.#gateway) throw new Error('the mesh has no gateway; start it with hasGateway: true');
    return this.#gateway.gateway;
  }

  workload(name: string): Workload {
    return this.#runningOf(name).workload;
  }

  async apply(yaml: string): Promise<readonly ResourceRef[]> {
    const refs = this.#parts.config.apply(yaml);
    await this.settled();
    return refs;
  }

  async delete(...refs: readonly ResourceRef[]): Promise<void> {
    for (const ref of refs) if (!this.#parts.config.delete(ref)) throw new Error(`there is no ${ref.kind} ${ref.namespace}/${ref.name}`);
    await this.settled();
  }

  async with<T>(yaml: string, use: () => Promise<T>): Promise<T> {
    const refs = await this.apply(yaml);
    try {
      return await use();
    } finally {
      await this.delete(...refs);
    }
  }

  async setMeshConfig(yaml: string): Promise<void> {
    this.#parts.meshConfig.set({ mesh: readMeshConfig(yaml), diagnostics: [] });
    await this.settled();
  }

  settled(timeoutMs = SETTLE_TIMEOUT_MS): Promise<void> {
    return untilSettled({ controlPlane: this.controlPlane, proxies: this.#proxies(), goneNodeIds: this.#goneNodeIds, timeoutMs });
  }

  call({ from, ...request }: ProxiedRequest & { readonly from: string }): Promise<Answer> {
    return this.workload(from).call(request);
  }

  async stop(name: string): Promise<void> {
    const running = this.#runningOf(name);
    this.#running.delete(running.workload.name);
    await running.close();
    this.#goneNodeIds.add(running.proxied.nodeId);
    await this.settled();
  }

  async start(name: string): Promise<void> {
    await this.#startWorkload(name);
    await this.settled();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.close();
  }

  async #startWorkload(name: string): Promise<void> {
    const plan = this.#plans.find((candidate) => candidate.name === name);
    if (!plan || this.#running.has(name)) throw new Error(`there is no stopped workload ${name}`);
    const running = await startWorkload(plan, this.#parts.context);
    this.#running.set(name, running);
    this.#goneNodeIds.delete(running.proxied.nodeId);
  }

  async #closeProxies(): Promise<void> {
    await Promise.all([this.#gateway?.proxied.close(), ...Array.from(this.#running.values(), (running) => running.close())]);
  }

  #proxies(): readonly Proxied[] {
    return [...Array.from(this.#running.values(), ({ proxied }) => proxied), ...(this.#gateway ? [this.#gateway.proxied] : [])];
  }

  #runningOf(name: string): RunningWorkload {
    const first = this.#plans.find(({ service }) => service === name)?.name ?? name;
    const running = this.#running.get(name) ?? this.#running.get(first);
    if (!running) throw new Error(`there is no running workload ${name}; there are ${[...this.#running.keys()].join(', ')}`);
    return running;
  }
}
