import type { JsonPatchOperation } from '@mizzen/injection';

/** What the API server asks. Source: Kubernetes admission.k8s.io/v1. */
export interface AdmissionRequest {
  readonly uid: string;
  readonly kind?: { readonly group: string; readonly version: string; readonly kind: string };
  readonly namespace?: string;
  readonly name?: string;
  readonly operation?: string;
  readonly object?: unknown;
}

export interface AdmissionAnswer {
  readonly isAllowed: boolean;
  readonly patch?: readonly JsonPatchOperation[];
  /** Why not, for whoever made the object. */
  readonly message?: string;
  readonly warnings?: readonly string[];
}

// The API server cuts a warning at 256 characters and all of one answer at 4096. Source: Kubernetes admission webhooks, "Response".
const MAX_WARNING_LENGTH = 256;
const MAX_WARNINGS = 15;

/** The request of an AdmissionReview; undefined where it is none of version v1. */
export function readAdmissionReview(body: unknown): AdmissionRequest | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { apiVersion, kind, request } = body as { apiVersion?: unknown; kind?: unknown; request?: AdmissionRequest };
  if (apiVersion !== 'admission.k8s.io/v1' || kind !== 'AdmissionReview') return undefined;
  return typeof request === 'object' && request !== null && typeof request.uid === 'string' ? request : undefined;
}

export function writeAdmissionReview(uid: string, { isAllowed, patch, message, warnings = [] }: AdmissionAnswer): object {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed: isAllowed,
      ...(patch && patch.length > 0 && { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
      ...(message !== undefined && { status: { code: isAllowed ? 200 : 400, message } }),
      ...(warnings.length > 0 && { warnings: warnings.slice(0, MAX_WARNINGS).map(shorten) }),
    },
  };
}

function shorten(text: string): string {
  return text.length > MAX_WARNING_LENGTH ? `${text.slice(0, MAX_WARNING_LENGTH - 1)}…` : text;
}
