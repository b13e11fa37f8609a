import type { KeyObject } from 'node:crypto';
import { type ServerUnaryCall, status } from '@grpc/grpc-js';
import { errorMessage } from '@mizzen/core';
import { type JoinClaims, parseSpiffeId, peerSpiffeId, type SpiffeId, verifyJoinToken } from '@mizzen/identity';
import { Refusal } from './refusal.ts';

/** A caller that proved an identity. `token` is the join token that it did it with, not used up yet. */
export interface Caller {
  readonly spiffeId: SpiffeId;
  readonly token: JoinClaims | undefined;
}

/**
 * Who calls: by a client certificate of this CA, else by a join token. Throws a Refusal.
 * Source of the order: istio security/pkg/server/ca/server.go Authenticators (1.32).
 */
export async function authenticate(
  call: ServerUnaryCall<unknown, unknown>,
  trust: { joinTokenKey: KeyObject; trustDomain: string; now: number },
): Promise<Caller> {
  const proven = peerSpiffeId(call, trust.now);
  const caller = proven === undefined ? await authenticateByToken(call, trust) : { spiffeId: proven, token: undefined };
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

async function authenticateByToken(
  call: ServerUnaryCall<unknown, unknown>,
  trust: { joinTokenKey: KeyObject; now: number },
): Promise<Caller> {
  const values = call.metadata.get('authorization');
  const [, token] = /^bearer ([A-Za-z0-9._-]+)$/i.exec(String(values[0] ?? '')) ?? [];
  if (values.length === 0) {
    throw new Refusal(
      status.UNAUTHENTICATED,
      'no valid client certificate and no join token was presented; send "authorization: Bearer <join token>"',
      'authentication',
    );
  }
  if (values.length > 1 || token === undefined)
    throw new Refusal(status.UNAUTHENTICATED, 'the authorization metadata is not one "Bearer <join token>"', 'authentication');
  try {
    const claims = await verifyJoinToken(trust.joinTokenKey, token, trust.now);
    return { spiffeId: claims.spiffeId, token: claims };
  } catch (thrown) {
    throw new Refusal(status.UNAUTHENTICATED, errorMessage(thrown), 'authentication');
  }
}
