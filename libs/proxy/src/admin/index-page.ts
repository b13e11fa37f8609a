import type { AdminParam, AdminRoute } from './admin-routes.ts';

const STYLE =
  'body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;width:100%}' +
  'td{border-top:1px solid #ddd;padding:.4em .6em;vertical-align:top}td:first-child{white-space:nowrap;width:16em}' +
  'input{margin:.2em .4em .2em 0}label{color:#555;font-size:.85em;margin-right:1em}';

/** What the admin interface has, with a form for each command. */
export function indexPage(routes: ReadonlyMap<string, AdminRoute>): string {
  const rows = [...routes].filter(([path]) => path !== '/').map(([path, route]) => row(path, route));
  return (
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mizzen admin</title><style>${STYLE}</style></head>` +
    `<body><h1>Mizzen admin</h1><table>${rows.join('')}</table></body></html>\n`
  );
}

function row(path: string, route: AdminRoute): string {
  const isChange = route.isChange === true;
  const target = escapeHtml(path.slice(1));
  const form = `<form id="${target}" method="${isChange ? 'post' : 'get'}" action="${target}"></form>`;
  const fields = (route.params ?? []).map((param) => field(param, target)).join('');
  const button = (label: string): string => `<button type="submit" form="${target}">${escapeHtml(label)}</button>`;
  const name = isChange ? button(path) : `<a href="${target}">${escapeHtml(path)}</a>`;
  const send = !isChange && fields !== '' ? button('show') : '';
  return `<tr><td>${form}${name}</td><td>${escapeHtml(route.help)}${fields}${send}</td></tr>`;
}

// A flag that is not ticked is not sent; an empty one would count.
function field({ name, help, isFlag }: AdminParam, form: string): string {
  const input = `<input${isFlag === true ? ' type="checkbox" value="1"' : ''} name="${escapeHtml(name)}" form="${form}">`;
  return `<div><label title="${escapeHtml(help)}">${escapeHtml(name)} ${input}</label></div>`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
