import type { Graph, GraphEdge } from './graph.ts';
import { PAGE_STYLE } from './page-style.ts';

const REFRESH_SECONDS = 5;
const WINDOWS = ['1m', '5m', '15m'];

/** The graph as a table that renews itself, with links to the API. */
export function renderGraphPage({ graph, window }: { graph: Graph; window: string }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="${REFRESH_SECONDS}">
<title>Mizzen: who calls whom</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<header>
<h1>Who calls whom</h1>
<nav aria-label="Window">${WINDOWS.map((choice) => windowLink(choice, choice === window)).join('')}</nav>
</header>
<main>
${renderTotals(graph)}
${graph.edges.length === 0 ? renderEmpty(window) : renderTable(graph)}
</main>
<footer>
As of <time datetime="${graph.generatedAt}">${graph.generatedAt.slice(11, 19)} UTC</time>, renewed every ${REFRESH_SECONDS} s.
API: <a href="/api/graph?window=${encodeURIComponent(window)}">/api/graph</a>
<a href="/api/traces?limit=20">/api/traces</a>
<a href="/metrics">/metrics</a>
<a href="/healthz">/healthz</a>
</footer>
</body>
</html>
`;
}

function windowLink(choice: string, isCurrent: boolean): string {
  return `<a href="/?window=${choice}"${isCurrent ? ' aria-current="page"' : ''}>last ${choice}</a>`;
}

function renderTotals({ nodes, edges }: Graph): string {
  const requests = edges.reduce((sum, edge) => sum + edge.requests, 0);
  const perSecond = edges.reduce((sum, edge) => sum + edge.requestsPerSecond, 0);
  const errors = edges.reduce((sum, edge) => sum + edge.errorRatio * edge.requests, 0);
  const encrypted = edges.filter((edge) => edge.mtls === 'mutual_tls').length;
  const totals: readonly (readonly [string, string])[] = [
    ['workloads', String(nodes.length)],
    ['requests a second', formatNumber(perSecond)],
    ['errors', formatPercent(requests === 0 ? 0 : errors / requests)],
    ['edges with mutual TLS', `${encrypted} of ${edges.length}`],
  ];
  return `<dl class="totals">${totals.map(([label, value]) => `<div><dt>${label}</dt><dd>${value}</dd></div>`).join('')}</dl>`;
}

function renderEmpty(window: string): string {
  return `<p class="empty">Nothing was reported in the last ${escapeHtml(window)}. Send a request through the mesh; proxies report every few seconds.</p>`;
}

function renderTable(graph: Graph): string {
  const columns = ['Source', 'Destination', 'Service', 'Protocol', 'Requests/s', 'Errors', 'p50', 'p90', 'p99', 'mTLS'];
  const head = columns.map((column, index) => `<th scope="col"${isNumeric(index) ? ' class="number"' : ''}>${column}</th>`).join('');
  return `<div class="table-scroll"><table id="graph">
<thead><tr>${head}</tr></thead>
<tbody>
${graph.edges.map(renderEdge).join('\n')}
</tbody>
</table></div>`;
}

function isNumeric(column: number): boolean {
  return column >= 4 && column <= 8;
}

function renderEdge(edge: GraphEdge): string {
  const isTcp = edge.protocol === 'tcp';
  const rate = isTcp ? `${formatBytes(edge.receivedBytesPerSecond + edge.sentBytesPerSecond)}/s` : formatNumber(edge.requestsPerSecond);
  const errors = isTcp ? '–' : formatPercent(edge.errorRatio);
  return `<tr>
<th scope="row">${escapeHtml(edge.source)}</th><td>${escapeHtml(edge.destination)}</td><td title="${escapeHtml(edge.destinationService)}">${escapeHtml(shortHost(edge.destinationService))}</td><td>${escapeHtml(edge.protocol)}</td>
<td class="number">${rate}</td><td class="number${edge.errorRatio > 0 ? ' bad' : ''}">${errors}</td>
<td class="number">${formatMs(edge.p50Ms)}</td><td class="number">${formatMs(edge.p90Ms)}</td><td class="number">${formatMs(edge.p99Ms)}</td>
<td>${renderMtls(edge.mtls)}</td>
</tr>`;
}

/** Without the domain that all services of a mesh share; the title has it. */
function shortHost(host: string): string {
  return host.replace(/\.svc\.[a-z0-9.-]+$/, '');
}

function renderMtls(mtls: GraphEdge['mtls']): string {
  const text = { mutual_tls: 'mutual TLS', none: 'plaintext', unknown: 'unknown' }[mtls];
  return `<span class="badge ${mtls}">${text}</span>`;
}

function formatNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function formatPercent(ratio: number): string {
  return ratio === 0 ? '0 %' : `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)} %`;
}

function formatMs(ms: number | null): string {
  if (ms === null) return '–';
  return ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

function formatBytes(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes.toFixed(0)} B`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
