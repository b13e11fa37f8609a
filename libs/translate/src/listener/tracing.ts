import { canonicalRevision, canonicalService, type ProxyView } from '@mizzen/model';
import { OpenTelemetryConfigSchema } from '@mizzen/xds-api/envoy/config/trace/v3/opentelemetry';
import type { HttpConnectionManager_TracingSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { any, type Init } from '../messages.ts';
import { OTLP_CLUSTER } from '../names.ts';

type TracingInit = Init<typeof HttpConnectionManager_TracingSchema>;

/** Tracing of an HTTP connection manager; undefined unless the mesh's default tracing provider is one that speaks OTLP. */
export function tracing(view: ProxyView): TracingInit | undefined {
  const { mesh, node } = view;
  const isDefault = new Set(mesh.defaultProviders?.tracing ?? []);
  const provider = mesh.extensionProviders?.find(({ name, opentelemetry }) => isDefault.has(name) && opentelemetry !== undefined);
  if (provider === undefined || mesh.enableTracing === false) return undefined;
  const config = any(OpenTelemetryConfigSchema, {
    grpcService: { targetSpecifier: { case: 'envoyGrpc', value: { clusterName: OTLP_CLUSTER } } },
    serviceName: `${canonicalService(node.labels, node.workloadName || node.name)}.${node.namespace}`,
  });
  return {
    clientSampling: { value: 100 },
    randomSampling: { value: mesh.defaultConfig?.tracing?.sampling ?? 1 },
    overallSampling: { value: 100 },
    customTags: Object.entries(istioTags(view)).map(([tag, value]) => ({ tag, type: { case: 'literal', value: { value } } })),
    provider: { name: 'envoy.tracers.opentelemetry', configType: { case: 'typedConfig', value: config } },
  };
}

/** Whatever of the proxy stands in `tracing`: equal for proxies whose HTTP connection managers are. */
export function tracingKey(view: ProxyView): string {
  return tracing(view) === undefined ? '' : JSON.stringify([istioTags(view), view.node.workloadName || view.node.name]);
}

/** Source: istio pilot/pkg/networking/core/tracing.go buildServiceTags (1.32 dev). */
function istioTags({ node }: ProxyView): Record<string, string> {
  return {
    'istio.canonical_revision': canonicalRevision(node.labels),
    'istio.canonical_service': canonicalService(node.labels, node.workloadName || 'unknown'),
    'istio.cluster_id': node.clusterId || 'unknown',
    'istio.mesh_id': node.meshId || 'unknown',
    'istio.namespace': node.namespace,
  };
}
