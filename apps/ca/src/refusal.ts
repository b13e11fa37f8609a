import type { status } from '@grpc/grpc-js';

/** What a refusal counts as in the metrics. */
export type RefusalKind = 'authentication' | 'identity' | 'csr' | 'signing';

/** Why a request gets no certificate: said to the caller as a gRPC status. */
export class Refusal extends Error {
  readonly code: status;
  readonly kind: RefusalKind;

  constructor(code: status, message: string, kind: RefusalKind) {
    super(message);
    this.name = 'Refusal';
    this.code = code;
    this.kind = kind;
  }
}
