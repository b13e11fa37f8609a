export { type Agent, createAgent } from './agent.ts';
export { type AgentSettings, agentOptionsOf, agentSettings, parseInbound, parseLabels, parsePortMap } from './agent-settings.ts';
export { TELEMETRY_CLUSTER } from './bootstrap.ts';
export type { AgentOptions, AgentPorts, IdentityOptions, InboundPort, ManagedProxy, ProxyFactory, WorkloadDescription } from './options.ts';
