// What Envoy's parser knows; anything else would be read as a method by us and as something else by the next one.
const METHODS: ReadonlyMap<string, string> = new Map(
  (
    'GET POST PUT DELETE HEAD OPTIONS PATCH CONNECT TRACE ACL BIND CHECKOUT COPY LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH NOTIFY PROPFIND PROPPATCH ' +
    'PURGE REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE'
  )
    .split(' ')
    .map((method) => [method, method]),
);

const AUTHORITY = /^[A-Za-z0-9\-._~%!$&'()*+,;=:[\]]+$/;

export interface RequestTarget {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
}

/**
 * The parts of a request's target: origin form, absolute form (whose authority counts, RFC 9112 §3.2.2), authority form for CONNECT,
 * `*` for OPTIONS. Returns the response code details where it is none of them.
 */
export function readRequestTarget(text: string, target: string, host: string | undefined): RequestTarget | string {
  const method = METHODS.get(text);
  if (method === undefined) return 'http1.codec_error';
  if (method === 'CONNECT') {
    if (!AUTHORITY.test(target) || !/:\d{1,5}$/.test(target)) return 'http1.codec_error';
    return { method, path: '', authority: target };
  }
  if (host === undefined) return 'missing_host_header';
  if (target.charCodeAt(0) === 0x2f) {
    if (target.includes('#')) return 'path_normalization_failed';
    return isAuthority(host) ? { method, path: target, authority: host } : 'http.invalid_authority';
  }
  if (target === '*') return method === 'OPTIONS' && isAuthority(host) ? { method, path: target, authority: host } : 'http1.codec_error';
  const absolute = /^https?:\/\/([^/?#]+)([^#]*)$/i.exec(target);
  if (absolute === null || !isAuthority(absolute[1] as string)) return 'http1.codec_error';
  const rest = absolute[2] as string;
  return { method, path: rest === '' ? '/' : rest.startsWith('?') ? `/${rest}` : rest, authority: absolute[1] as string };
}

let lastAuthority = '';

// Nearly every request has the host of the one before.
function isAuthority(host: string): boolean {
  if (host === lastAuthority) return true;
  if (!AUTHORITY.test(host)) return false;
  lastAuthority = host;
  return true;
}
