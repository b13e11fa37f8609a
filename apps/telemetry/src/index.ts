export { telemetryApp } from './app.ts';
export { type Collector, type CollectorOptions, startCollector } from './collector.ts';
export type { Graph, GraphEdge, GraphNode } from './graph.ts';
export type { StoredSpan, TraceSummary } from './span-store.ts';
