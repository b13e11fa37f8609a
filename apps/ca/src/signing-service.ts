import type { KeyObject } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { type ServerUnaryCall, type sendUnaryData, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { type Clock, errorMessage, type Logger, type Watchable } from '@mizzen/core';
import { CLOCK_SKEW_MS, issueLeaf, verifyCsr } from '@mizzen/identity';
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '@mizzen/xds-api/istio/v1/auth/ca';
import type { Authority } from './authority.ts';
import type { CaMetrics } from './ca-metrics.ts';
import { authenticate, type Caller, type CallerTrust } from './caller.ts';
import { Refusal } from './refusal.ts';
import type { UsedTokens } from './used-tokens.ts';

export interface SigningOptions {
  readonly authority: Watchable<Authority>;
  readonly trust: CallerTrust;
  /** Where join tokens are taken: those that were used. */
  readonly usedTokens: UsedTokens | undefined;
  /** Unit: ms. What a request that names no validity gets, and the most that any gets. */
  readonly defaultTtlMs: number;
  readonly maxTtlMs: number;
  readonly metrics: CaMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

type SigningCall = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;

/** `istio.v1.auth.IstioCertificateService`: who calls decides what is certified, the request only brings the key. */
export function createSigningService(options: SigningOptions): UntypedServiceImplementation {
  const { metrics, logger } = options;
  return {
    createCertificate(call: SigningCall, respond: sendUnaryData<IstioCertificateResponse>): void {
      metrics.countRequest();
      sign(call, options).then(
        (response) => {
          metrics.countIssued();
          respond(null, response);
        },
        (thrown: unknown) => {
          const isRefusal = thrown instanceof Refusal;
          metrics.countRefusal(isRefusal ? thrown.kind : 'signing');
          logger[isRefusal ? 'warn' : 'error']({ peer: call.getPeer(), reason: errorMessage(thrown) }, 'certificate refused');
          respond({
            code: isRefusal ? thrown.code : status.INTERNAL,
            details: isRefusal ? thrown.message : 'the CA cannot sign at present; its log says why',
          });
        },
      );
    },
  };
}

async function sign(call: SigningCall, options: SigningOptions): Promise<IstioCertificateResponse> {
  const { authority, clock, logger } = options;
  const now = clock.now();
  const caller = await authenticate(call, options.trust, now);
  refuseImpersonation(call.request);
  const publicKey = keyOf(call.request.csr);
  const ttlMs = lifeOf(call.request, options);
  // Last, so that a request that fails for another reason does not cost the token.
  await useUp(caller, options.usedTokens);

  const { issuer, intermediatePems, rootPems, notAfter: issuerNotAfter } = authority.value;
  if (issuerNotAfter <= now) throw new Refusal(status.FAILED_PRECONDITION, 'the certificate of the CA has expired; replace it', 'signing');
  const validity = { notBefore: now - CLOCK_SKEW_MS, notAfter: now + ttlMs };
  const leafPem = issueLeaf(issuer, { publicKey, names: { uris: [caller.spiffeId] }, validity });
  logger.info({ spiffeId: caller.spiffeId, proof: caller.proof, group: caller.joinToken?.group, ttlMs }, 'certificate issued');
  return create(IstioCertificateResponseSchema, { certChain: [leafPem, ...intermediatePems, ...rootPems] });
}

// Signing for others is ztunnel's need; to ignore the wish would give the caller a certificate that it did not ask for.
function refuseImpersonation(request: IstioCertificateRequest): void {
  const wished = request.metadata?.['ImpersonatedIdentity'];
  if (wished !== undefined && wished !== '')
    throw new Refusal(
      status.PERMISSION_DENIED,
      'this CA certifies callers only for themselves; leave ImpersonatedIdentity out',
      'authentication',
    );
}

function keyOf(csrPem: string): KeyObject {
  try {
    return verifyCsr(csrPem);
  } catch (thrown) {
    throw new Refusal(status.INVALID_ARGUMENT, errorMessage(thrown), 'csr');
  }
}

function lifeOf(request: IstioCertificateRequest, { defaultTtlMs, maxTtlMs }: SigningOptions): number {
  const wishedMs = Number(request.validityDuration) * 1000;
  if (wishedMs < 0) throw new Refusal(status.INVALID_ARGUMENT, 'validity_duration is negative; give seconds, or 0 for the default', 'csr');
  return Math.min(wishedMs === 0 ? defaultTtlMs : wishedMs, maxTtlMs);
}

async function useUp({ joinToken }: Caller, usedTokens: UsedTokens | undefined): Promise<void> {
  if (!joinToken || (await usedTokens?.use(joinToken.tokenId, joinToken.expiresAt))) return;
  throw new Refusal(
    status.UNAUTHENTICATED,
    'the join token was used before; each is good for one certificate, make a new one',
    'authentication',
  );
}
