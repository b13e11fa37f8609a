import { parseSpiffeId } from '@mizzen/identity';
import { parseProxyNode } from '@mizzen/model';
import type { Authorize } from '@mizzen/xds-server';

/**
 * Whoever comes over mutual TLS gets the configuration of the workload that its certificate names, and no other's.
 * The plaintext port has no identities; that is why it is bound to loopback.
 * Source: istio pilot/pkg/xds/auth.go authorize, checkConnectionIdentity (1.32).
 */
export function authorizeByIdentity(trustDomains: () => readonly string[]): Authorize {
  return ({ node, isSecure, identity }) => {
    if (!isSecure) return { isAllowed: true };
    const proven = identity === undefined ? undefined : parseSpiffeId(identity);
    if (!proven) return refused('the client certificate carries no valid SPIFFE id');
    if (!trustDomains().includes(proven.trustDomain))
      return refused(`${identity} is of another trust domain than ${trustDomains().join(', ')}`);
    const { namespace, serviceAccount } = parseProxyNode(node);
    if (proven.namespace !== namespace || proven.serviceAccount !== serviceAccount) {
      return refused(
        `the node says that it is ${namespace}/${serviceAccount || 'without a service account'}, its certificate says ${identity}; check NAMESPACE and SERVICE_ACCOUNT of the node's metadata`,
      );
    }
    return { isAllowed: true };
  };
}

function refused(reason: string): { isAllowed: false; reason: string } {
  return { isAllowed: false, reason };
}
