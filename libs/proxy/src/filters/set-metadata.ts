import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { type Field, refuseFields } from '@mizzen/matching';
import { type Config, ConfigSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/set_metadata/v3/set_metadata';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';

const STATS = defineStats({ counters: { overwriteDenied: 'overwrite_denied' } });

interface Entry {
  readonly namespace: string;
  readonly value: JsonObject;
  readonly mayOverwrite: boolean;
}

export const setMetadataFilter: HttpFilterKind = defineHttpFilter({
  schema: ConfigSchema,
  create: (message, field, environment) => new SetMetadataFilter(compileEntries(message, field), environment),
});

function compileEntries(message: Config, field: Field): readonly Entry[] {
  const entries: Entry[] = [];
  // The older way to say one entry.
  if (message.value !== undefined) entries.push({ namespace: message.metadataNamespace, value: message.value, mayOverwrite: true });
  message.metadata.forEach((entry, index) => {
    const at = field.child('metadata', index);
    refuseFields(at, entry, ['typedValue']);
    if (entry.metadataNamespace === '') at.child('metadata_namespace').reject('is required');
    if (entry.value !== undefined)
      entries.push({ namespace: entry.metadataNamespace, value: entry.value, mayOverwrite: entry.allowOverwrite });
  });
  return entries;
}

/** Puts fixed values into dynamic metadata. Source: Envoy, Set metadata filter (1.40). */
class SetMetadataFilter implements HttpFilter {
  readonly #entries: readonly Entry[];
  readonly #stats: Counts<typeof STATS>;

  constructor(entries: readonly Entry[], { context, statPrefix }: FilterEnvironment) {
    this.#entries = entries;
    this.#stats = context.stats.counts(STATS, {
      prefix: `http.${statPrefix}.set_metadata`,
      tags: [['envoy.http_conn_manager_prefix', statPrefix]],
    });
  }

  onRequest({ info }: HttpStream): FilterDecision {
    for (const { namespace, value, mayOverwrite } of this.#entries) {
      const known = info.dynamicMetadata?.get(namespace);
      if (known === undefined) info.setDynamicMetadata(namespace, value);
      else if (mayOverwrite) info.setDynamicMetadata(namespace, merged(known, value) as JsonObject);
      else this.#stats.overwriteDenied++;
    }
    return 'continue';
  }
}

/** Lists are joined, objects merged, all else is replaced. Source: envoy StructUtil::update (1.40). */
function merged(known: JsonValue | undefined, added: JsonValue): JsonValue {
  if (Array.isArray(known) && Array.isArray(added)) return [...known, ...added];
  if (!isObject(known) || !isObject(added)) return added;
  const result: Record<string, JsonValue> = { ...known };
  for (const [key, value] of Object.entries(added)) result[key] = merged(known[key], value);
  return result;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
