import { toBinary } from '@bufbuild/protobuf';
import { TYPE_URL, unpackAny, type XdsRejection, type XdsResource, type XdsUpdate } from '@mizzen/xds-api';
import { type Bootstrap, BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { type Listener, ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';

/** A bootstrap for a further event loop: the first one alone answers the administrator and pushes metrics. */
export function workerBootstrap({ admin: _, ...bootstrap }: Bootstrap): Uint8Array {
  const resources = bootstrap.staticResources;
  return toBinary(BootstrapSchema, {
    ...bootstrap,
    statsSinks: [],
    ...(resources && {
      staticResources: { ...resources, listeners: resources.listeners.filter((listener) => canBeShared(listener, true)) },
    }),
  });
}

/**
 * What the first event loop took of an update; `removed` is what it took away. Never the whole state: what was refused stays in force as it
 * was, and is not there.
 */
export function forWorkers(
  update: XdsUpdate,
  { rejections, removed }: { readonly rejections: readonly XdsRejection[]; readonly removed: readonly string[] },
): XdsUpdate {
  const refused = new Set(rejections.map(({ name }) => name));
  const upserts: XdsResource[] = [];
  const own: string[] = [];
  for (const resource of update.upserts) {
    if (refused.has(resource.name)) continue;
    const listener = update.typeUrl === TYPE_URL.listener ? unpackAny(resource.body, ListenerSchema) : undefined;
    if (listener === undefined || canBeShared(listener, false)) upserts.push(resource);
    else own.push(resource.name);
  }
  return { ...update, upserts, removed: [...removed, ...own], isWholeState: false };
}

/** A path can be bound once, and a port that the system chooses is known of static listeners alone: the others are the first event loop's. */
function canBeShared({ address, name }: Listener, isStatic: boolean): boolean {
  const where = address?.address;
  if (where?.case === 'pipe') return false;
  const isChosen =
    where?.case === 'socketAddress' && where.value.portSpecifier.case === 'portValue' && where.value.portSpecifier.value === 0;
  return !isChosen || (isStatic && name !== '');
}
