import type { Running } from '@mizzen/core';
import { parseSpiffeId } from '@mizzen/identity';
import { createReconciler } from '@mizzen/kube';
import type { ControllerContext } from './controllers.ts';

// Source: istio pilot/pkg/credentials/kube/secrets.go, cacheTTL (1.32).
const VALID_MS = 60_000;

export interface SecretAccess extends Running {
  /** Whether the identity may read the Secrets of its namespace; undefined until the API server has answered for the first time. */
  isAllowed(identity: string): boolean | undefined;
}

/**
 * Asks the API server whether a service account may list Secrets in its own namespace: only then is it given the certificates that its
 * Gateways name. Answers are asked for again every minute for those who are connected; while the API is away the last ones hold.
 */
export function createSecretAccess(
  options: ControllerContext & {
    /** Identities that are connected now. */
    readonly connected: () => Iterable<string>;
    readonly onChange: () => void;
  },
): SecretAccess {
  const { client, clock, logger } = options;
  const answers = new Map<string, { readonly isAllowed: boolean; readonly askedAt: number }>();
  const wanted = new Set<string>();

  const reconcile = async (): Promise<void> => {
    const connected = new Set(options.connected());
    for (const identity of answers.keys()) if (!connected.has(identity)) answers.delete(identity);
    const isDue = (identity: string): boolean => clock.monotonic() - (answers.get(identity)?.askedAt ?? -Infinity) >= VALID_MS;
    for (const identity of new Set([...wanted, ...[...answers.keys()].filter(isDue)])) {
      const before = answers.get(identity)?.isAllowed;
      const isAllowed = await ask(identity);
      wanted.delete(identity);
      answers.set(identity, { isAllowed, askedAt: clock.monotonic() });
      if (isAllowed !== before) options.onChange();
      if (!isAllowed)
        logger.warn({ identity }, 'no certificates of Secrets for this proxy: let its service account list secrets in its namespace');
    }
  };
  const ask = async (identity: string): Promise<boolean> => {
    const { namespace, serviceAccount } = parseSpiffeId(identity) ?? {};
    if (namespace === undefined) return false;
    const { status } = await client.request<{ status?: { allowed?: boolean } }>({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: `system:serviceaccount:${namespace}:${serviceAccount}`,
          groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
          resourceAttributes: { namespace, verb: 'list', resource: 'secrets' },
        },
      },
    });
    return status?.allowed === true;
  };
  const reconciler = createReconciler({ ...options, reconcile, everyMs: VALID_MS, failure: 'it is not known who may have which Secret' });
  return {
    isAllowed(identity) {
      const known = answers.get(identity);
      if (known) return known.isAllowed;
      wanted.add(identity);
      reconciler.trigger();
      return undefined;
    },
    close: () => reconciler.close(),
  };
}
