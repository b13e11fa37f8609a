import { at, listAt, withProtoNames } from './json.ts';

/** One resource of a dump: `view` with protobuf's field names for reading, `raw` as the proxy gave it for -o json. */
export interface DumpedResource {
  readonly raw: unknown;
  readonly view: unknown;
}

export interface ConfigDump {
  readonly bootstrap: DumpedResource | undefined;
  readonly clusters: readonly DumpedResource[];
  readonly listeners: readonly DumpedResource[];
  readonly routes: readonly DumpedResource[];
  readonly secrets: readonly DumpedResource[];
}

/** Where the resources lie within each part of a dump, and where the resource lies within an entry. Source: envoy.admin.v3.ConfigDump. */
const PARTS = {
  clusters: { type: 'ClustersConfigDump', lists: ['static_clusters', 'dynamic_active_clusters'], resource: ['cluster'] },
  listeners: { type: 'ListenersConfigDump', lists: ['static_listeners', 'dynamic_listeners'], resource: ['listener'] },
  routes: { type: 'RoutesConfigDump', lists: ['static_route_configs', 'dynamic_route_configs'], resource: ['route_config'] },
  secrets: { type: 'SecretsConfigDump', lists: ['static_secrets', 'dynamic_active_secrets', 'dynamic_warming_secrets'], resource: [] },
} as const;

/** Takes a proxy's /config_dump apart. Parts that are missing are empty. */
export function readConfigDump(dump: unknown): ConfigDump {
  return {
    bootstrap: readBootstrap(dump),
    clusters: readPart(dump, 'clusters'),
    listeners: readPart(dump, 'listeners'),
    routes: readPart(dump, 'routes'),
    secrets: readPart(dump, 'secrets'),
  };
}

function readPart(dump: unknown, part: keyof typeof PARTS): DumpedResource[] {
  const { type, lists, resource } = PARTS[part];
  return partsOf(dump, type).flatMap((raw) => {
    const view = withProtoNames(raw);
    return lists.flatMap((list) => {
      const rawEntries = listAt(raw, list).length > 0 ? listAt(raw, list) : listAt(raw, camelName(list));
      return listAt(view, list).map((entry, index) => ({
        view: resourceOf(entry, resource),
        raw: resourceOf(rawEntries[index], resource.map(camelName), resource),
      }));
    });
  });
}

// A dynamic listener's resource lies in its active state, or while it warms in its warming state.
function resourceOf(entry: unknown, ...paths: readonly (readonly string[])[]): unknown {
  for (const state of [[], ['active_state'], ['activeState'], ['warming_state'], ['warmingState']]) {
    for (const path of paths) {
      const found = at(entry, ...state, ...path);
      if (found !== undefined) return found;
    }
  }
  return entry;
}

function readBootstrap(dump: unknown): DumpedResource | undefined {
  const [raw] = partsOf(dump, 'BootstrapConfigDump');
  if (raw === undefined) return undefined;
  return { raw: at(raw, 'bootstrap'), view: at(withProtoNames(raw), 'bootstrap') };
}

function partsOf(dump: unknown, type: string): unknown[] {
  return listAt(dump, 'configs').filter((part) => at(part, '@type') === `type.googleapis.com/envoy.admin.v3.${type}`);
}

function camelName(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
