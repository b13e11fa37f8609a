import { checkServerIdentity, createSecureContext } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { type ChannelCredentials, Client, Metadata, status } from '@grpc/grpc-js';
import { errorMessage, MizzenError, splitHostPort } from '@mizzen/core';
import { grpcMethodDefinition } from '@mizzen/xds-api';
import { IstioCertificateRequestSchema, type IstioCertificateResponse, IstioCertificateService } from '@mizzen/xds-api/istio/v1/auth/ca';
import { createTlsChannelCredentials } from './channel-credentials.ts';
import type { Svid } from './svid.ts';

/** How a caller proves itself to the CA. */
export type CallerProof = { readonly kind: 'token'; readonly token: string } | { readonly kind: 'svid'; readonly svid: Svid };

export interface SigningRequest {
  /** `host:port`. */
  readonly caAddress: string;
  /** The name that the CA's certificate has to be for. Default: the host of the address. */
  readonly caServerName?: string | undefined;
  /** Roots that the CA's own certificate must lead to. */
  readonly rootPem: string;
  readonly proof: CallerProof;
  readonly csrPem: string;
  readonly ttlMs: number;
  readonly signal: AbortSignal;
}

/** The CA answered that the caller has not proven who it is, or may not ask this. Another proof may help, time does not. */
export const CALLER_REFUSED = 'caller refused';

const DEADLINE_MS = 10_000;
const { createCertificate } = IstioCertificateService.method;

/**
 * One CreateCertificate over a connection of its own: the proof is part of the connection. Resolves with the chain as PEM.
 * Throws MIZZEN_CA_UNREACHABLE, or MIZZEN_IDENTITY with `details.reason` CALLER_REFUSED where the CA refuses the caller.
 */
export async function requestCertificate(request: SigningRequest): Promise<string> {
  const client = new Client(request.caAddress, channelCredentials(request), {
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
  try {
    return (await call(client, request)).certChain.map((entry) => (entry.endsWith('\n') ? entry : `${entry}\n`)).join('');
  } catch (thrown) {
    throw describeFailure(thrown, request.caAddress);
  } finally {
    client.close();
  }
}

function channelCredentials({ caAddress, caServerName, rootPem, proof }: SigningRequest): ChannelCredentials {
  const own = proof.kind === 'svid' ? { cert: proof.svid.certChainPem, key: proof.svid.privateKeyPem.reveal() } : {};
  const { host } = splitHostPort(caAddress) ?? { host: caAddress };
  try {
    const context = createSecureContext({ ca: rootPem, minVersion: 'TLSv1.2', ...own });
    return createTlsChannelCredentials(context, (peer) => checkServerIdentity(caServerName ?? host, peer));
  } catch (thrown) {
    throw new MizzenError('MIZZEN_IDENTITY', `the CA's root cannot be used: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

function call(client: Client, request: SigningRequest): Promise<IstioCertificateResponse> {
  const definition = grpcMethodDefinition(createCertificate);
  const metadata = new Metadata();
  if (request.proof.kind === 'token') metadata.set('authorization', `Bearer ${request.proof.token}`);
  const message = create(IstioCertificateRequestSchema, { csr: request.csrPem, validityDuration: BigInt(Math.ceil(request.ttlMs / 1000)) });
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    const done = (error: unknown, response?: IstioCertificateResponse): void => {
      request.signal.removeEventListener('abort', cancel);
      if (error || !response) reject(error ?? new Error('the answer is empty'));
      else resolve(response);
    };
    const ongoing = client.makeUnaryRequest(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      message,
      metadata,
      options,
      done,
    );
    const cancel = (): void => ongoing.cancel();
    request.signal.addEventListener('abort', cancel);
    if (request.signal.aborted) cancel();
  });
}

function describeFailure(thrown: unknown, caAddress: string): MizzenError {
  const { code, details } = thrown as { code?: unknown; details?: unknown };
  const reason = typeof details === 'string' ? details : errorMessage(thrown);
  if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED) {
    return new MizzenError('MIZZEN_IDENTITY', `the CA at ${caAddress} refused the caller: ${reason}`, {
      cause: thrown,
      details: { reason: CALLER_REFUSED },
    });
  }
  if (code === status.INVALID_ARGUMENT)
    return new MizzenError('MIZZEN_IDENTITY', `the CA at ${caAddress} refused the request: ${reason}`, { cause: thrown });
  return new MizzenError('MIZZEN_CA_UNREACHABLE', `the CA at ${caAddress} does not answer: ${reason}`, { cause: thrown });
}
