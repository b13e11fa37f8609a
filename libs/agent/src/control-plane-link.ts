import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import type { Clock, Logger, Random, Running } from '@mizzen/core';
import { createMtlsChannelCredentials, formatSpiffeId, type SvidManager } from '@mizzen/identity';
import type { XdsConsumer } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { createXdsClient, type XdsClient } from '@mizzen/xds-client';
import type { AgentMetrics } from './agent-metrics.ts';

export interface ControlPlaneLinkOptions {
  readonly address: string;
  readonly consumer: XdsConsumer;
  readonly trustDomain: string;
  /** undefined: plaintext. */
  readonly identity: SvidManager | undefined;
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The stream to the control plane. To be on it is to be in the mesh: it registers the workload, and its end takes the endpoint out. */
export class ControlPlaneLink implements Running {
  readonly #options: ControlPlaneLinkOptions;
  #client: XdsClient | undefined;
  #work: Promise<void> = Promise.resolve();
  #isClosed = false;
  #health: { readonly failure: string | undefined } | undefined;

  constructor(options: ControlPlaneLinkOptions) {
    this.#options = options;
  }

  /** Introduces the proxy as `node`; a second call takes the first introduction back. */
  announce(node: Node): Promise<void> {
    this.#work = this.#work.then(async () => {
      await this.#client?.close();
      if (this.#isClosed) return;
      this.#client = this.#connect(node);
    });
    return this.#work;
  }

  /** Tells how the workload is: `failure` says what is wrong with it. */
  reportHealth(failure: string | undefined): void {
    this.#health = { failure };
    this.#client?.reportHealth(failure);
  }

  /** Leaves the mesh: a graceful end, after which nobody is sent here any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#work;
    await this.#client?.close();
  }

  #connect(node: Node): XdsClient {
    const { address, consumer, clock, random, logger, metrics } = this.#options;
    const client = createXdsClient({ address, node, consumer, credentials: () => this.#credentials(), clock, random, logger });
    let wasConnected = false;
    client.state.watch((state) => {
      if (state.kind === 'waiting' && wasConnected) metrics.countConnectionTermination();
      else if (state.kind === 'waiting') metrics.countConnectionFailure();
      wasConnected = state.kind === 'connected';
    });
    if (this.#health) client.reportHealth(this.#health.failure);
    client.start();
    return client;
  }

  // For each connection anew, so that it is made with the newest SVID.
  #credentials(): ChannelCredentials {
    const { identity, trustDomain } = this.#options;
    if (!identity) return credentials.createInsecure();
    const svid = identity.svid.value;
    if (!svid) throw new Error('there is no SVID yet');
    const server = formatSpiffeId({ trustDomain, namespace: 'istio-system', serviceAccount: 'istiod' });
    return createMtlsChannelCredentials(svid, server);
  }
}
