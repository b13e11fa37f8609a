import { type DescMessage, fromBinary, type JsonObject, type JsonValue, toJson } from '@bufbuild/protobuf';
import type { ProxyView } from '@mizzen/model';
import { xdsRegistry } from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { translateClusters } from '../cluster/translate-clusters.ts';
import { translateEndpoints } from '../endpoint/translate-endpoints.ts';
import { translateListeners } from '../listener/translate-listeners.ts';
import { translateNameTable } from '../name-table/translate-name-table.ts';
import type { TranslatedResource } from '../result.ts';
import { translateRoutes } from '../route/translate-routes.ts';
import type { OutputType } from './translation-case.ts';

/** A resource as JSON with the field names of the .proto files, comparable with a config_dump. */
function toProtoJson(schema: DescMessage, resource: TranslatedResource): JsonObject {
  return toJson(schema, fromBinary(schema, resource.body.value), { registry: xdsRegistry, useProtoFieldName: true }) as JsonObject;
}

export interface Rendered {
  readonly listeners: readonly JsonObject[];
  readonly routes: readonly JsonObject[];
  readonly clusters: readonly JsonObject[];
  readonly endpoints: readonly JsonObject[];
  readonly nameTable: readonly JsonObject[];
}

/** Everything that a proxy is given, the way it asks for it: the routes that its listeners name, the endpoints of its EDS clusters. */
export function renderView(view: ProxyView): Rendered {
  const listeners = translateListeners(view).resources.map((resource) => toProtoJson(ListenerSchema, resource));
  const clusters = translateClusters(view).resources.map((resource) => toProtoJson(ClusterSchema, resource));
  const edsNames = clusters.filter((cluster) => cluster['type'] === 'EDS').map((cluster) => String(cluster['name']));
  return {
    listeners,
    clusters,
    routes: translateRoutes(view, routeNames(listeners)).resources.map((resource) => toProtoJson(RouteConfigurationSchema, resource)),
    endpoints: translateEndpoints(view, edsNames).resources.map((resource) => toProtoJson(ClusterLoadAssignmentSchema, resource)),
    nameTable: translateNameTable(view).resources.map((resource) => toProtoJson(NameTableSchema, resource)),
  };
}

/** Names under `rds`, in the order of the listeners. */
function routeNames(listeners: JsonValue): Set<string> {
  const names = new Set<string>();
  const visit = (value: JsonValue): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, field] of Object.entries(value)) {
      if (key === 'route_config_name') names.add(String(field));
      else visit(field);
    }
  };
  visit(listeners);
  return names;
}

/** Keeps what the case is about: clusters, endpoints and virtual hosts by name. */
export function selectOutput(type: OutputType, rendered: Rendered, only: string | undefined): readonly JsonObject[] {
  if (only === undefined || type === 'listeners' || type === 'nameTable') return rendered[type];
  const pattern = new RegExp(only);
  const isKept = (value: JsonValue | undefined): boolean => pattern.test(String(value));
  if (type === 'clusters') return rendered.clusters.filter((cluster) => isKept(cluster['name']));
  if (type === 'endpoints') return rendered.endpoints.filter((assignment) => isKept(assignment['cluster_name']));
  return rendered.routes.map((routes) => ({
    ...routes,
    virtual_hosts: ((routes['virtual_hosts'] ?? []) as JsonObject[]).filter((host) => isKept(host['name'])),
  }));
}
