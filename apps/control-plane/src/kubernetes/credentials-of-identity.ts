import { parseSpiffeId } from '@mizzen/identity';
import type { Credentials } from '../config-generator.ts';
import type { SecretAccess } from './secret-access.ts';

const NONE: Credentials = new Map();

/**
 * A proxy may be given the Secrets of its own namespace, and only where its service account may read them itself. `all` is by
 * `namespace/name`, the answer by name. Undefined: not known yet, so that what the proxy has is not taken from it.
 * Source: istio pilot/pkg/xds/sds.go parseResources, filterAuthorizedResources (1.32).
 */
export function createCredentialsOfIdentity(access: Pick<SecretAccess, 'isAllowed'>) {
  const byNamespace = new WeakMap<Credentials, Map<string, Credentials>>();
  const ofNamespace = (all: Credentials, namespace: string): Credentials => {
    const known = byNamespace.get(all) ?? new Map<string, Credentials>();
    byNamespace.set(all, known);
    const answer = known.get(namespace) ?? within(all, `${namespace}/`);
    known.set(namespace, answer);
    return answer;
  };
  return (identity: string, all: Credentials): Credentials | undefined => {
    const namespace = parseSpiffeId(identity)?.namespace;
    if (namespace === undefined) return NONE;
    const isAllowed = access.isAllowed(identity);
    if (isAllowed === undefined) return undefined;
    return isAllowed ? ofNamespace(all, namespace) : NONE;
  };
}

function within(all: Credentials, prefix: string): Credentials {
  return new Map([...all].filter(([name]) => name.startsWith(prefix)).map(([name, credential]) => [name.slice(prefix.length), credential]));
}
