// One run of the translation benchmark in a fresh process; prints its figures as JSON. Started by translate-bench.ts.
import { fillMeshConfig, parseResource, parseYaml, type Resource } from '@mizzen/mesh-api';
import {
  buildMeshSnapshot,
  buildProxyView,
  type MeshSnapshot,
  ofKind,
  type ProxyNode,
  parseProxyNode,
  workloadFromEntry,
} from '@mizzen/model';
import {
  type TranslatedResource,
  type TranslateResult,
  translateClusters,
  translateEndpoints,
  translateListeners,
  translateRoutes,
} from '@mizzen/translate';
import { meshYaml, SHAPE, virtualServiceYaml } from './large-mesh.ts';
import type { TranslationCost, TranslationResult } from './translate-bench.ts';

const FURTHER_CLIENTS = 100;

/** CPU of `run` in milliseconds, threads of the garbage collector and the compiler included. */
function measure<T>(run: () => T): { readonly value: T; readonly cpuMs: number } {
  const before = process.cpuUsage();
  const value = run();
  const { user, system } = process.cpuUsage(before);
  return { value, cpuMs: (user + system) / 1000 };
}

function resourcesOf(yaml: string): readonly Resource[] {
  return parseYaml(yaml, 'bench.yaml').documents.map((document) => {
    const { resource, diagnostics } = parseResource(document);
    if (resource === undefined) throw new Error(diagnostics.map(({ message }) => message).join('\n'));
    return resource;
  });
}

function snapshotOf(resources: readonly Resource[], previous?: MeshSnapshot): MeshSnapshot {
  const workloads = ofKind(resources, 'WorkloadEntry').map(workloadFromEntry);
  return buildMeshSnapshot(
    { mesh: fillMeshConfig({}), resources: resources.filter(({ kind }) => kind !== 'WorkloadEntry'), workloads },
    previous,
  );
}

function clientNode(index: number): ProxyNode {
  return parseProxyNode({
    id: `sidecar~127.0.0.1~client-${index}.default~default.svc.cluster.local`,
    userAgentName: 'mizzen',
    metadata: { NAMESPACE: 'default', LABELS: { app: 'client' }, INTERCEPTION_MODE: 'NONE', HTTP_PROXY_PORT: String(10_000 + index) },
  });
}

/** Everything that a client which connects is sent. */
function translateAll(snapshot: MeshSnapshot, node: ProxyNode): readonly TranslatedResource[] {
  const view = buildProxyView(snapshot, node);
  const clusters = translateClusters(view);
  const results: readonly TranslateResult[] = [
    clusters,
    translateEndpoints(
      view,
      clusters.resources.map(({ name }) => name),
    ),
    translateListeners(view),
    translateRoutes(view, ['http_proxy']),
  ];
  return results.flatMap(({ resources }) => resources);
}

function sent(resources: readonly TranslatedResource[]): Omit<TranslationCost, 'cpuMs'> {
  return { bytes: resources.reduce((sum, { body }) => sum + body.value.length, 0), resources: resources.length };
}

const loaded = measure(() => {
  const resources = resourcesOf(meshYaml());
  return { resources, snapshot: snapshotOf(resources) };
});
const { resources, snapshot } = loaded.value;
const cold = measure(() => translateAll(snapshot, clientNode(0)));
const further = measure(() => {
  let last: readonly TranslatedResource[] = [];
  for (let index = 1; index <= FURTHER_CLIENTS; index++) last = translateAll(snapshot, clientNode(index));
  return last;
});

const [changed] = resourcesOf(virtualServiceYaml(0, 90)) as [Resource];
const after = resources.map((resource) =>
  resource.kind === 'VirtualService' && resource.metadata.name === changed.metadata.name ? changed : resource,
);
const pushed = measure(() => translateAll(snapshotOf(after, snapshot), clientNode(0)));
const held = new Map(cold.value.map(({ name, body, version }) => [`${body.typeUrl} ${name}`, version]));
const differing = pushed.value.filter(({ name, body, version }) => held.get(`${body.typeUrl} ${name}`) !== version);

const result: TranslationResult = {
  ...SHAPE,
  snapshot: { cpuMs: loaded.cpuMs },
  coldClient: { cpuMs: cold.cpuMs, ...sent(cold.value) },
  furtherClient: { cpuMs: further.cpuMs / FURTHER_CLIENTS, ...sent(further.value) },
  changedVirtualService: { cpuMs: pushed.cpuMs, ...sent(differing) },
};
process.stdout.write(JSON.stringify(result));
