import { type Html, html } from '../html.ts';
import type { UpstreamAnswer } from '../upstreams.ts';
import { isRecord, renderUnavailable } from './unavailable.ts';

const MAX_STARS = 5;
const STAR_PATH = 'M10 1.6l2.6 5.3 5.8.8-4.2 4.1 1 5.8L10 14.9l-5.2 2.7 1-5.8L1.6 7.7l5.8-.8z';

export function renderReviews({ status, body }: UpstreamAnswer): Html {
  const heading = html`<h2 id="reviews-heading">Book Reviews</h2>`;
  if (status !== 200 || !isRecord(body) || !Array.isArray(body['reviews'])) return html`${heading}${renderUnavailable('reviews', body)}`;
  return html`${heading}
${body['reviews'].filter(isRecord).map(renderReview)}
${renderServedBy(body)}`;
}

function renderReview(review: Readonly<Record<string, unknown>>): Html {
  return html`<figure class="review">
<blockquote>${String(review['text'] ?? '')}</blockquote>
<figcaption><span class="reviewer">${String(review['reviewer'] ?? '')}</span>${renderRating(review['rating'])}</figcaption>
</figure>
`;
}

function renderRating(rating: unknown): Html | undefined {
  if (!isRecord(rating)) return undefined;
  if (typeof rating['stars'] !== 'number') return html`<em class="rating-error">${String(rating['error'] ?? 'No rating')}</em>`;
  const filled = Math.min(MAX_STARS, Math.max(0, Math.round(rating['stars'])));
  // The colour becomes part of a class name.
  const color = String(rating['color']).replace(/[^a-z]/g, '');
  return html`<span class="stars text-${color}-500" role="img" aria-label="${filled} of ${MAX_STARS} stars">${Array.from({ length: MAX_STARS }, (_, index) => renderStar(index < filled))}</span>`;
}

function renderStar(isFilled: boolean): Html {
  const classes = isFilled ? 'star' : 'star text-gray-300';
  return html`<svg class="${classes}" viewBox="0 0 20 20" aria-hidden="true" fill="currentColor"><path d="${STAR_PATH}"/></svg>`;
}

function renderServedBy(body: Readonly<Record<string, unknown>>): Html {
  const cluster = body['clustername'];
  const isClusterNamed = cluster !== undefined && cluster !== null && cluster !== 'null';
  return html`<p class="served-by">Reviews served by: <strong id="reviews-podname">${String(body['podname'] ?? 'unknown')}</strong>${
    isClusterNamed ? html` in cluster <strong id="reviews-clustername">${String(cluster)}</strong>` : undefined
  }</p>`;
}
