import type { KeyObject } from 'node:crypto';
import { type ServerUnaryCall, status } from '@grpc/grpc-js';
import { errorMessage, isMizzenError } from '@mizzen/core';
import {
  formatSpiffeId,
  isJoinToken,
  type JoinClaims,
  parseSpiffeId,
  peerSpiffeId,
  type SpiffeId,
  verifyJoinToken,
} from '@mizzen/identity';
import { TOKEN_AUDIENCE, type TokenReviewer } from './kubernetes/token-reviewer.ts';
import { Refusal } from './refusal.ts';

/** A caller that proved an identity. `joinToken` is the one that it did it with, not used up yet. */
export interface Caller {
  readonly spiffeId: SpiffeId;
  readonly proof: 'certificate' | 'join token' | 'service account token';
  readonly joinToken?: JoinClaims;
}

/** What callers may prove themselves with, beside a certificate of this CA. */
export interface CallerTrust {
  readonly trustDomain: string;
  /** Join tokens are taken where it is given. */
  readonly joinTokenKey: KeyObject | undefined;
  /** Service account tokens are taken where it is given. */
  readonly tokenReviewer: TokenReviewer | undefined;
}

type Call = ServerUnaryCall<unknown, unknown>;

/**
 * Who calls: by a client certificate of this CA, else by a token. Throws a Refusal.
 * Source of the order: istio security/pkg/server/ca/server.go Authenticators (1.32).
 */
export async function authenticate(call: Call, trust: CallerTrust, now: number): Promise<Caller> {
  const proven = peerSpiffeId(call, now);
  const caller: Caller =
    proven === undefined ? await authenticateByToken(bearerOf(call, trust), trust, now) : { spiffeId: proven, proof: 'certificate' };
  const trustDomain = parseSpiffeId(caller.spiffeId)?.trustDomain;
  if (trustDomain !== trust.trustDomain) {
    throw new Refusal(
      status.PERMISSION_DENIED,
      `${caller.spiffeId} is of another trust domain than ${trust.trustDomain}`,
      'authentication',
    );
  }
  return caller;
}

function bearerOf(call: Call, trust: CallerTrust): string {
  const values = call.metadata.get('authorization');
  const [, token] = /^bearer ([A-Za-z0-9._-]+)$/i.exec(String(values[0] ?? '')) ?? [];
  const wanted = trust.tokenReviewer ? 'service account token' : 'join token';
  if (values.length === 0) {
    throw new Refusal(
      status.UNAUTHENTICATED,
      `no valid client certificate and no ${wanted} was presented; send "authorization: Bearer <${wanted}>"`,
      'authentication',
    );
  }
  if (values.length > 1 || token === undefined)
    throw new Refusal(status.UNAUTHENTICATED, `the authorization metadata is not one "Bearer <${wanted}>"`, 'authentication');
  return token;
}

function authenticateByToken(token: string, trust: CallerTrust, now: number): Promise<Caller> {
  const { joinTokenKey, tokenReviewer } = trust;
  if (joinTokenKey && (!tokenReviewer || isJoinToken(token))) return authenticateByJoinToken(token, joinTokenKey, now);
  if (tokenReviewer) return authenticateByReview(token, tokenReviewer, trust.trustDomain);
  throw new Refusal(status.UNAUTHENTICATED, 'this CA takes no tokens; come with a client certificate', 'authentication');
}

async function authenticateByJoinToken(token: string, key: KeyObject, now: number): Promise<Caller> {
  try {
    const joinToken = await verifyJoinToken(key, token, now);
    return { spiffeId: joinToken.spiffeId, proof: 'join token', joinToken };
  } catch (thrown) {
    throw new Refusal(status.UNAUTHENTICATED, errorMessage(thrown), 'authentication');
  }
}

async function authenticateByReview(token: string, reviewer: TokenReviewer, trustDomain: string): Promise<Caller> {
  const reviewed = await reviewer.review(token).catch((thrown: unknown) => {
    if (!isMizzenError(thrown)) throw thrown;
    // Not UNAUTHENTICATED: nobody said that the token is wrong, and the same one may be good in a moment.
    throw new Refusal(status.UNAVAILABLE, `the cluster cannot be asked whose the token is: ${thrown.message}`, 'authentication');
  });
  switch (reviewed.kind) {
    case 'serviceAccount': {
      const { namespace, serviceAccount } = reviewed;
      return { spiffeId: formatSpiffeId({ trustDomain, namespace, serviceAccount }), proof: 'service account token' };
    }
    case 'refused':
      throw new Refusal(status.UNAUTHENTICATED, reviewed.reason, 'authentication');
    case 'notAServiceAccount':
      throw new Refusal(
        status.UNAUTHENTICATED,
        `the token is that of ${reviewed.username || 'nobody'}, not of a service account; request one with audience ${TOKEN_AUDIENCE}`,
        'identity',
      );
  }
}
