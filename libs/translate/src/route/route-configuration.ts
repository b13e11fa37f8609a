import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Diagnostic } from '@mizzen/core';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { VirtualHostSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Init } from '../messages.ts';
import { resourceOfBytes, type TranslatedResource } from '../result.ts';

/** A virtual host as it stands inside a route configuration, encoded once and shared by all of them. */
export interface EncodedVirtualHost {
  readonly bytes: Uint8Array;
  readonly largestBodyBytes: number;
  /** What was left out of it, and why. */
  readonly diagnostics: readonly Diagnostic[];
}

/** A route configuration, or the part of it that can be used. */
export interface TranslatedRoutes {
  readonly resource: TranslatedResource;
  readonly diagnostics: readonly Diagnostic[];
}

/** `repeated VirtualHost virtual_hosts = 2` of envoy.config.route.v3.RouteConfiguration. */
const VIRTUAL_HOSTS_FIELD = 2;
/** Above Envoy's default a body is only taken where the route configuration allows it. */
const DEFAULT_MAX_BODY_BYTES = 4096;
const MAX_BODY_BYTES = 1024 * 1024;

export function encodeVirtualHost(init: Init<typeof VirtualHostSchema>, diagnostics: readonly Diagnostic[] = []): EncodedVirtualHost {
  const message = create(VirtualHostSchema, init);
  const writer = new BinaryWriter();
  writer.tag(VIRTUAL_HOSTS_FIELD, WireType.LengthDelimited).bytes(toBinary(VirtualHostSchema, message));
  const bodies = message.routes.map(({ action }) => (action.case === 'directResponse' ? bodyBytes(action.value.body?.specifier.value) : 0));
  return { bytes: writer.finish(), largestBodyBytes: Math.max(0, ...bodies), diagnostics };
}

function bodyBytes(body: unknown): number {
  return typeof body === 'string' ? Buffer.byteLength(body) : body instanceof Uint8Array ? body.length : 0;
}

/** A route configuration from encoded virtual hosts: the bytes are joined, nothing is encoded again. */
export function routeConfiguration(
  name: string,
  virtualHosts: readonly EncodedVirtualHost[],
  options: { ignoresPort: boolean },
): TranslatedRoutes {
  const needsLargeBodies = virtualHosts.some(({ largestBodyBytes }) => largestBodyBytes > DEFAULT_MAX_BODY_BYTES);
  const head = create(RouteConfigurationSchema, {
    name,
    // Clusters may come and go on their own; a route to one that is away answers 503 NC.
    validateClusters: false,
    // The listener has one port, whatever the client calls it: a gateway is reached by the port that its node is published on.
    ...(options.ignoresPort && { ignorePortInHostMatching: true }),
    ...(needsLargeBodies && { maxDirectResponseBodySizeBytes: MAX_BODY_BYTES }),
  });
  const bytes = Buffer.concat([toBinary(RouteConfigurationSchema, head), ...virtualHosts.map((virtualHost) => virtualHost.bytes)]);
  return {
    resource: resourceOfBytes(RouteConfigurationSchema, name, bytes),
    diagnostics: virtualHosts.flatMap(({ diagnostics }) => diagnostics),
  };
}
