import type { KubeMetadata } from '@mizzen/kube';

/** When the object was made, ISO 8601 with milliseconds, as resources of files have it, so that ages can be compared as text. */
export function creationOf({ creationTimestamp }: KubeMetadata): string {
  const created = Date.parse(creationTimestamp ?? '');
  return new Date(Number.isNaN(created) ? 0 : created).toISOString();
}
