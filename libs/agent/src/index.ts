export { type Agent, createAgent } from './agent.ts';
export {
  type AgentSettings,
  agentOptionsOf,
  agentSettings,
  labelsOf,
  parseInbound,
  parseLabels,
  parsePortMap,
} from './agent-settings.ts';
export { type AppProbe, type AppProbes, parseAppProbes } from './app-probe-config.ts';
export { TELEMETRY_CLUSTER } from './bootstrap.ts';
export { parseReadinessProbe, type ReadinessProbe } from './health/readiness-probe.ts';
export type {
  AgentOptions,
  AgentPorts,
  DnsOptions,
  IdentityOptions,
  InboundPort,
  ManagedProxy,
  PodOptions,
  PodPort,
  PrometheusTarget,
  ProxyFactory,
  WorkloadDescription,
} from './options.ts';
export { type CaptureSettings, captureSettings, type PodSettings } from './pod-settings.ts';
