import type { MeshAccess } from '../access/mesh-access.ts';

/** One entry of the control plane's /debug/syncz. */
export interface SyncStatus {
  readonly proxy: string;
  readonly cluster_id?: string;
  readonly istio_version?: string;
  readonly instance?: string;
  readonly namespace?: string;
  readonly user_agent?: string;
  readonly admin_address?: string;
  readonly status_port?: string;
  readonly ports?: Readonly<Record<string, unknown>>;
  readonly connected_at?: string;
  readonly types: Readonly<Record<string, TypeStatus>>;
}

export interface TypeStatus {
  readonly status: string;
  readonly sentAt?: string | number;
  readonly ackedAt?: string | number;
  readonly version?: string;
  readonly reason?: string;
}

/** The proxies of all control planes; one that has just moved from one to another is listed once. */
export async function fetchSyncStatus(mesh: MeshAccess): Promise<SyncStatus[]> {
  const all = ((await mesh.debug('/debug/syncz')) as SyncStatus[][]).flat();
  const byProxy = new Map<string, SyncStatus>();
  for (const entry of all) {
    const other = byProxy.get(entry.proxy);
    if (!other || (other.connected_at ?? '') < (entry.connected_at ?? '')) byProxy.set(entry.proxy, entry);
  }
  return [...byProxy.values()].sort((a, b) => proxyName(a).localeCompare(proxyName(b)));
}

/** `<instance>.<namespace>`, the third part of a node id. */
export function proxyName({ proxy }: Pick<SyncStatus, 'proxy'>): string {
  return proxy.split('~')[2] ?? proxy;
}

export function matchesProxy(entry: Pick<SyncStatus, 'proxy'>, prefix: string): boolean {
  return entry.proxy === prefix || proxyName(entry).startsWith(prefix);
}
