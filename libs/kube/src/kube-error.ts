import { MizzenError } from '@mizzen/core';

/** What the API server said no with, or that it did not answer. A MizzenError with the code MIZZEN_KUBERNETES. */
export class KubeError extends MizzenError {
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `Expired`, `Forbidden`, …; '' where the server gave none. */
  readonly reason: string;

  constructor(message: string, about: { status: number; reason?: string; cause?: unknown; details?: Readonly<Record<string, unknown>> }) {
    super('MIZZEN_KUBERNETES', message, {
      ...(about.cause !== undefined && { cause: about.cause }),
      details: { ...about.details, status: about.status, reason: about.reason ?? '' },
    });
    this.name = 'KubeError';
    this.status = about.status;
    this.reason = about.reason ?? '';
  }
}

// By its shape and not by `instanceof`, which is false across realms.
export function isKubeError(thrown: unknown): thrown is KubeError {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && thrown.code === 'MIZZEN_KUBERNETES' && 'status' in thrown;
}

/** The revision that was asked for is no longer kept: list again. Source: Kubernetes API concepts, "410 Gone responses". */
export function isExpired(thrown: unknown): boolean {
  return isKubeError(thrown) && (thrown.status === 410 || thrown.reason === 'Expired' || thrown.reason === 'Gone');
}

/** Somebody else changed the object since it was read. */
export function isConflict(thrown: unknown): boolean {
  return isKubeError(thrown) && thrown.status === 409;
}

export function isNotFound(thrown: unknown): boolean {
  return isKubeError(thrown) && thrown.status === 404;
}

/**
 * A new object was refused because its namespace is on its way out.
 * Source of the text: Kubernetes plugin/pkg/admission/namespace/lifecycle/admission.go (1.34).
 */
export function isNamespaceTerminating(thrown: unknown): boolean {
  return isKubeError(thrown) && thrown.status === 403 && saysTerminating(thrown.message);
}

function saysTerminating(message: string): boolean {
  return message.includes('because it is being terminated');
}

/** What whoever reads the message can do. A 403 is also how admission refuses (quotas, Pod Security): its own text says why. */
function adviceFor(status: number, message: string): string | undefined {
  switch (status) {
    case 401:
      return 'its credentials are not accepted; renew them';
    case 403:
      if (saysTerminating(message)) return 'wait until the namespace is gone, or use another one';
      // Source of the text: Kubernetes apiserver/pkg/endpoints/handlers/responsewriters/errors.go forbiddenMessage (1.34).
      return message === '' || / cannot \S+ (resource|path) /.test(message) ? 'grant it by a Role or ClusterRole' : undefined;
    case 429:
      return 'the API server is overloaded; it is tried again where that makes sense';
    default:
      return undefined;
  }
}

/** Makes the error of an answer that is not 2xx. `body` is a Status object, or text of whoever stands in between. */
export function errorOfAnswer(asked: string, status: number, body: unknown): KubeError {
  const { reason, message } = statusOf(body);
  const advice = adviceFor(status, message);
  return new KubeError(`${asked}: ${message || `HTTP status ${status}`}${advice === undefined ? '' : ` (${advice})`}`, {
    status,
    reason,
    details: { asked },
  });
}

function statusOf(body: unknown): { reason: string; message: string } {
  if (typeof body === 'string') return { reason: '', message: body.trim().slice(0, 500) };
  if (typeof body !== 'object' || body === null) return { reason: '', message: '' };
  const { reason, message } = body as { reason?: unknown; message?: unknown };
  return { reason: typeof reason === 'string' ? reason : '', message: typeof message === 'string' ? message : '' };
}
