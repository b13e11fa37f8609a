import type { CloseStack } from '@mizzen/core';
import { sourceAddressOf } from '../interception.ts';
import { type AgentOptions, DEFAULT_HOST } from '../options.ts';
import { HealthChecker } from './health-checker.ts';

/**
 * A WorkloadGroup with a probe makes an endpoint of a workload only once its agent said that it is well; an agent without a probe says so
 * at once, because its program listens. `report` is called with what is wrong, or undefined where nothing is.
 */
export function startHealthChecks(options: AgentOptions, report: (failure: string | undefined) => void, stack: CloseStack): void {
  const { workload, readinessProbe: probe, pod, clock, logger } = options;
  if (workload.workloadGroup === undefined) return;
  if (probe === undefined) {
    report(undefined);
    return;
  }
  // Without capture the program is on this machine's loopback, behind its sidecar.
  const route = {
    host: (pod?.interceptionMode === 'NONE' ? undefined : pod?.addresses[0]) ?? DEFAULT_HOST,
    sourceAddress: sourceAddressOf(pod),
  };
  stack.use(new HealthChecker({ probe, route, onChange: report, clock, logger })).start();
}
