import type { Timer } from '@mizzen/core';
import type { Endpoint } from './endpoint.ts';
import type { HealthChecker } from './health-checker.ts';
import { createProbe, type Probe, type ProbeResult } from './health-probes.ts';

/** The checks of one endpoint, one after another. Source: envoy HealthCheckerImplBase::ActiveHealthCheckSession (1.40). */
export class EndpointCheck {
  readonly #checker: HealthChecker;
  readonly #endpoint: Endpoint;
  readonly #probe: Probe;
  #passed = 0;
  #failed = 0;
  #interval: Timer | undefined;
  #timeout: Timer | undefined;
  #isClosed = false;

  constructor(checker: HealthChecker, endpoint: Endpoint) {
    this.#checker = checker;
    this.#endpoint = endpoint;
    this.#probe = createProbe(checker.config, endpoint);
  }

  start(): void {
    const { config, options } = this.#checker;
    const jitterMs = Math.floor(options.random() * config.initialJitterMs);
    if (jitterMs > 0) this.#interval = options.clock.after(jitterMs, () => this.#check());
    else this.#check();
  }

  close(): void {
    this.#isClosed = true;
    this.#interval?.cancel();
    this.#timeout?.cancel();
    this.#probe.close();
  }

  #check(): void {
    const { config, options, stats } = this.#checker;
    stats.attempt++;
    let isOver = false;
    const finish = (result: ProbeResult): void => {
      if (isOver || this.#isClosed) return;
      isOver = true;
      this.#timeout?.cancel();
      this.#onResult(result);
    };
    this.#timeout = options.clock.after(config.timeoutMs, () => {
      this.#probe.close();
      finish({ kind: 'failed', isNetwork: true, isRetriable: true, reason: 'timeout' });
    });
    this.#probe.check(finish);
  }

  #onResult(result: ProbeResult): void {
    const hasChanged = result.kind === 'failed' ? this.#fail(result) : this.#pass(result.isDegraded);
    const { options } = this.#checker;
    this.#interval = options.clock.after(this.#nextDelayMs(hasChanged), () => this.#check());
    this.#checker.onResult(this.#endpoint, hasChanged);
  }

  #pass(isDegraded: boolean): boolean {
    const { config, stats, options } = this.#checker;
    const endpoint = this.#endpoint;
    const before = endpoint.checkResult;
    stats.success++;
    this.#failed = 0;
    if (config.logsSuccesses) options.logger.info(this.#logged(), 'health check passed');
    // The first check needs no threshold.
    if (before === 'unhealthy' && ++this.#passed < config.healthyThreshold) return false;
    this.#passed = 0;
    endpoint.checkResult = isDegraded ? 'degraded' : 'healthy';
    if (before === 'unhealthy' || before === 'pending') {
      endpoint.healthySinceMs = options.clock.monotonic();
      if (before === 'unhealthy') options.logger.info(this.#logged(), 'endpoint passes health checks again');
    }
    return before !== endpoint.checkResult;
  }

  #fail({ isNetwork, isRetriable, reason }: Extract<ProbeResult, { readonly kind: 'failed' }>): boolean {
    const { config, stats, options } = this.#checker;
    const endpoint = this.#endpoint;
    const before = endpoint.checkResult;
    stats.failure++;
    if (isNetwork) stats.networkFailure++;
    this.#passed = 0;
    if (config.logsFailures) options.logger.warn({ ...this.#logged(), reason }, 'health check failed');
    if (before === 'unhealthy') return false;
    // What answers, and says that it is not well, is believed at once.
    const isConfirmed = before === 'pending' || !(isNetwork || isRetriable) || ++this.#failed >= config.unhealthyThreshold;
    if (!isConfirmed) return false;
    this.#failed = 0;
    endpoint.checkResult = 'unhealthy';
    options.logger.warn({ ...this.#logged(), reason }, 'endpoint fails health checks');
    return true;
  }

  #logged(): { readonly cluster: string; readonly endpoint: string } {
    return { cluster: this.#checker.cluster.name, endpoint: this.#endpoint.addressText };
  }

  #nextDelayMs(hasChanged: boolean): number {
    const { config, cluster, options } = this.#checker;
    const isHealthy = this.#endpoint.checkResult !== 'unhealthy';
    let delayMs: number;
    if (!cluster.hadConnections) delayMs = isHealthy ? config.noTrafficHealthyMs : config.noTrafficMs;
    else if (isHealthy) delayMs = hasChanged ? config.healthyEdgeMs : config.intervalMs;
    else delayMs = hasChanged ? config.unhealthyEdgeMs : config.unhealthyMs;
    return delayMs + options.random() * (delayMs * (config.intervalJitterPercent / 100)) + options.random() * config.intervalJitterMs;
  }
}
