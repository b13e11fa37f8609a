import { createHash } from 'node:crypto';
import { type Clock, errorMessage, MizzenError } from '@mizzen/core';
import type { KubeClient } from '@mizzen/kube';

/** Audience that the projected token of a pod is for. Source: istio security/pkg/k8s/tokenreview, `istio-ca`. */
export const TOKEN_AUDIENCE = 'istio-ca';

export type ReviewedToken =
  | { readonly kind: 'serviceAccount'; readonly namespace: string; readonly serviceAccount: string }
  | { readonly kind: 'refused'; readonly reason: string }
  /** The token is good, and whose it is is no identity of the mesh. */
  | { readonly kind: 'notAServiceAccount'; readonly username: string };

export interface TokenReviewer {
  /** Throws MIZZEN_KUBERNETES where the API server cannot be asked. */
  review(token: string): Promise<ReviewedToken>;
}

// As long as the API server itself remembers. Source: kube-apiserver --authentication-token-webhook-cache-ttl, 10 s for service accounts.
const REMEMBERED_MS = 10_000;
const MOST_REMEMBERED = 10_000;
const TIMEOUT_MS = 8_000;

interface TokenReviewStatus {
  readonly authenticated?: boolean;
  readonly audiences?: readonly string[];
  readonly error?: string;
  readonly user?: { readonly username?: string };
}

/** Asks the cluster whose a token is. Answers are remembered briefly by the token's hash, so that a burst of one caller costs one call. */
export function createTokenReviewer({ client, clock }: { client: KubeClient; clock: Clock }): TokenReviewer {
  const remembered = new Map<string, { readonly answer: Promise<ReviewedToken>; readonly until: number }>();
  const forgetOld = (now: number): void => {
    // In order of their arrival, which is that of their end.
    for (const [hash, { until }] of remembered) {
      if (until > now && remembered.size < MOST_REMEMBERED) return;
      remembered.delete(hash);
    }
  };
  return {
    review(token) {
      const now = clock.monotonic();
      const hash = createHash('sha256').update(token).digest('base64');
      const known = remembered.get(hash);
      if (known && known.until > now) return known.answer;
      remembered.delete(hash);
      forgetOld(now);
      const answer = askCluster(client, token);
      remembered.set(hash, { answer, until: now + REMEMBERED_MS });
      answer.catch(() => remembered.delete(hash));
      return answer;
    },
  };
}

async function askCluster(client: KubeClient, token: string): Promise<ReviewedToken> {
  const { status = {} } = await client
    .request<{ status?: TokenReviewStatus }>({
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [TOKEN_AUDIENCE] } },
      timeoutMs: TIMEOUT_MS,
    })
    .catch((thrown: unknown) => {
      throw new MizzenError('MIZZEN_KUBERNETES', `TokenReview: ${errorMessage(thrown)}`, { cause: thrown });
    });
  if (status.authenticated !== true)
    return {
      kind: 'refused',
      reason: `the cluster does not accept the token (${status.error ?? 'it is not one of its own, or has expired'}); it has to be a service account token with audience ${TOKEN_AUDIENCE}`,
    };
  // An API server that knows no audiences answers without them, and has not checked them.
  if (!status.audiences?.includes(TOKEN_AUDIENCE))
    return { kind: 'refused', reason: `the token is not for the audience ${TOKEN_AUDIENCE}; request one that is` };
  const username = status.user?.username ?? '';
  const [system, kind, namespace, serviceAccount, ...more] = username.split(':');
  if (system !== 'system' || kind !== 'serviceaccount' || !namespace || !serviceAccount || more.length > 0)
    return { kind: 'notAServiceAccount', username };
  return { kind: 'serviceAccount', namespace, serviceAccount };
}
