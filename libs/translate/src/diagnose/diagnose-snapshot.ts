import type { Diagnostic } from '@mizzen/core';
import type { MeshSnapshot } from '@mizzen/model';
import { namedEndpoints } from './endpoints.ts';
import { conflictingServers, unservedServers } from './gateway.ts';
import { overruled } from './overruled.ts';
import { diagnoseRateLimits } from './rate-limit.ts';
import { subnetMatches } from './subnets.ts';
import { unsupportedParts } from './unsupported.ts';
import { diagnoseVirtualServices } from './virtual-service.ts';

/**
 * Everything that translation knows about the resources of a snapshot: what has no effect, what refers to nothing, what is never reached.
 * Independent of proxies, so once for each snapshot is enough.
 */
export function diagnoseSnapshot(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return [
    ...snapshot.resources.flatMap((resource) => unsupportedParts(resource)),
    ...diagnoseVirtualServices(snapshot),
    ...overruled(snapshot),
    ...conflictingServers(snapshot),
    ...unservedServers(snapshot),
    ...namedEndpoints(snapshot),
    ...subnetMatches(snapshot),
    ...diagnoseRateLimits(snapshot),
  ];
}
