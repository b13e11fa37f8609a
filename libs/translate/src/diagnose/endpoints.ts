import type { Diagnostic } from '@mizzen/core';
import { type Resource, refOf, resourceKey } from '@mizzen/mesh-api';
import type { MeshSnapshot } from '@mizzen/model';
import { isAddress } from '../endpoint/translate-endpoints.ts';
import { report } from './report.ts';

/** Endpoints of static services that are names: they are left out, because a load assignment takes addresses only. */
export function namedEndpoints(snapshot: MeshSnapshot): Diagnostic[] {
  const resources = new Map<string, Resource>(snapshot.resources.map((resource) => [resourceKey(refOf(resource)), resource]));
  const diagnostics: Diagnostic[] = [];
  for (const [service, endpoints] of snapshot.endpoints) {
    if (service.resolution !== 'static') continue;
    const resource = resources.get(resourceKey(service.source));
    const [port] = service.ports;
    const named = (port && endpoints.byPort.get(port.number))?.filter(({ address }) => !isAddress(address)) ?? [];
    if (resource === undefined) continue;
    for (const { address, workload } of named) {
      const message = `endpoint ${workload.name} has the name ${address} as its address; with resolution STATIC it is left out, with DNS it would be looked up`;
      diagnostics.push(report(resource, { code: 'IST0106', severity: 'error', path: ['spec', 'resolution'], message }));
    }
  }
  return diagnostics;
}
