import { create, type DescMessage, fromJson, type JsonValue, type Message } from '@bufbuild/protobuf';
import { silentLogger, systemClock } from '@mizzen/core';
import { createProxy, type MeshProxy } from '@mizzen/proxy';
import { packAny, TYPE_URL, xdsRegistry } from '@mizzen/xds-api';
import { BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { changeAt, fieldName, type Place, placesIn, setFieldsAt, setSample } from './xds-fields.ts';

/** What our proxy does with a field, and which comparisons with Envoy have it in their bootstrap. */
export interface Feature {
  readonly field: string;
  readonly status: 'compared' | 'taken' | 'refused';
  readonly comparedIn: readonly string[];
}

/** A bootstrap that a spec starts Envoy with, as JSON. */
export interface RecordedBootstrap {
  readonly spec: string;
  readonly bootstrap: JsonValue;
}

interface Resource {
  readonly spec: string;
  readonly schema: DescMessage;
  readonly message: Message;
}

const TYPE_URLS: Readonly<Record<string, string>> = {
  [ListenerSchema.typeName]: TYPE_URL.listener,
  [ClusterSchema.typeName]: TYPE_URL.cluster,
};

/**
 * Every field of every message that a comparison with Envoy uses: those in a bootstrap are compared; each other one is set, in a resource
 * that our proxy takes, to see whether it takes that too or refuses it by name.
 */
export function readFeatures(recorded: readonly RecordedBootstrap[]): readonly Feature[] {
  const proxy = createProxy({ bootstrap: create(BootstrapSchema), clock: systemClock, random: Math.random, logger: silentLogger });
  const resources = recorded.flatMap(resourcesOf);
  const specs = new Map<string, Set<string>>();
  const examples = new Map<string, { resource: Resource; place: Place }>();
  for (const resource of resources) {
    const isTaken = reasonOf(proxy, resource.schema, resource.message) === undefined;
    for (const place of placesIn(resource.schema, resource.message)) {
      for (const field of setFieldsAt(resource.schema, resource.message, place)) {
        const known = specs.get(fieldName(field)) ?? new Set();
        specs.set(fieldName(field), known.add(resource.spec));
      }
      if (isTaken && !examples.has(place.schema.typeName)) examples.set(place.schema.typeName, { resource, place });
    }
  }
  return [...examples.values()]
    .flatMap(({ resource, place }) =>
      place.schema.fields
        .filter((field) => field.proto.options?.deprecated !== true)
        .map((field): Feature => {
          const comparedIn = [...(specs.get(fieldName(field)) ?? [])].sort();
          if (comparedIn.length > 0) return { field: fieldName(field), status: 'compared', comparedIn };
          const changed = changeAt(resource.schema, resource.message, place.steps, (at) => setSample(place.schema, at, field));
          const reason = reasonOf(proxy, resource.schema, changed);
          // What is said of a map's entry is said of the sample, not of the field: the proxy has looked into it.
          const isRefused = reason !== undefined && new RegExp(`\\b${field.name}\\b(?!\\[")[^:]*: .*not (?:supported|have)`).test(reason);
          return { field: fieldName(field), status: isRefused ? 'refused' : 'taken', comparedIn };
        }),
    )
    .sort((a, b) => (a.field < b.field ? -1 : 1));
}

function resourcesOf({ spec, bootstrap }: RecordedBootstrap): readonly Resource[] {
  const { staticResources } = fromJson(BootstrapSchema, bootstrap, { registry: xdsRegistry });
  return [
    // Nothing is to be bound for being looked at.
    ...(staticResources?.listeners ?? []).map((message) => ({ spec, schema: ListenerSchema, message: { ...message, bindToPort: false } })),
    ...(staticResources?.clusters ?? []).map((message) => ({ spec, schema: ClusterSchema, message })),
  ];
}

function reasonOf(proxy: MeshProxy, schema: DescMessage, message: Message): string | undefined {
  const typeUrl = TYPE_URLS[schema.typeName] as string;
  const name = (message as Message & { readonly name?: string }).name || 'probe';
  const body = packAny(schema, { ...message, name } as Message);
  const rejections = proxy.apply({ typeUrl, version: '1', upserts: [{ name, version: '1', body }], removed: [], isWholeState: false });
  proxy.apply({ typeUrl, version: '2', upserts: [], removed: [name], isWholeState: false });
  return rejections[0]?.reason;
}
