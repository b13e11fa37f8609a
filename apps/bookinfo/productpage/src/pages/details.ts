import { type Html, html } from '../html.ts';
import type { UpstreamAnswer } from '../upstreams.ts';
import { isRecord, renderUnavailable } from './unavailable.ts';

/** Label on the page and key in the answer of the details service. */
const ROWS = [
  ['Author', 'author'],
  ['Year', 'year'],
  ['Type', 'type'],
  ['Pages', 'pages'],
  ['Publisher', 'publisher'],
  ['Language', 'language'],
  ['ISBN-10', 'ISBN-10'],
  ['ISBN-13', 'ISBN-13'],
] as const;

export function renderDetails({ status, body }: UpstreamAnswer): Html {
  const heading = html`<h2 id="details-heading">Book Details</h2>`;
  if (status !== 200 || !isRecord(body)) return html`${heading}${renderUnavailable('details', body)}`;
  const rows = ROWS.filter(([, key]) => body[key] !== undefined);
  return html`${heading}
<dl class="facts">
${rows.map(([label, key]) => html`<div><dt>${label}</dt><dd>${String(body[key])}</dd></div>\n`)}</dl>`;
}
