type Json = unknown;
type JsonObject = Readonly<Record<string, Json>>;

// Lists of a pod whose items are told apart by a field. All others are replaced whole.
// Source: the x-kubernetes-patch-merge-key entries of core/v1 in Kubernetes' OpenAPI description.
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
};

/**
 * Lays an overlay over a pod, or a part of one: objects field by field, lists item by item where Kubernetes does so, null removes.
 * Items that only the overlay has come last. `$patch: delete` in an item removes it, `$patch: replace` replaces the object whole.
 * A volume is replaced as a whole, since one with two sources is never valid.
 */
export function strategicMerge<T>(target: T, overlay: unknown): T {
  return merge(target, overlay, '') as T;
}

function merge(target: Json, overlay: Json, field: string): Json {
  if (Array.isArray(overlay)) return mergeList(Array.isArray(target) ? target : [], overlay, field);
  if (!isObject(overlay)) return overlay;
  const { $patch: directive, ...given } = overlay;
  const base = isObject(target) && directive !== 'replace' ? target : {};
  const merged: Record<string, Json> = { ...base };
  for (const [name, value] of Object.entries(given)) {
    if (value === null) delete merged[name];
    else merged[name] = merge(merged[name], value, name);
  }
  return merged;
}

function mergeList(target: readonly Json[], overlay: readonly Json[], field: string): Json {
  const key = MERGE_KEYS[field];
  if (key === undefined || !overlay.every(isObject)) return overlay;
  const merged = [...target];
  for (const item of overlay) {
    const at = merged.findIndex((candidate) => isObject(candidate) && candidate[key] === item[key]);
    if (item['$patch'] === 'delete') {
      if (at >= 0) merged.splice(at, 1);
    } else if (at < 0) merged.push(merge(undefined, item, ''));
    else merged[at] = field === 'volumes' ? item : mergeItem(merged[at], item, field);
  }
  return merged;
}

// A variable has a value or a source of one, never both.
function mergeItem(target: Json, item: JsonObject, field: string): Json {
  return field === 'env' ? item : merge(target, item, '');
}

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
