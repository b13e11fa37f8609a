import { type Html, html } from '../html.ts';

const FALLBACK = {
  details: 'Sorry, product details are currently unavailable for this book.',
  reviews: 'Sorry, product reviews are currently unavailable for this book.',
} as const;

/** Stands where the part of a service would be that did not answer. */
export function renderUnavailable(part: 'details' | 'reviews', body: unknown): Html {
  const reason = isRecord(body) && typeof body['error'] === 'string' ? body['error'] : FALLBACK[part];
  return html`<div class="notice" role="status">
<p class="notice-title">Error fetching product ${part}</p>
<p>${reason}</p>
</div>`;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
