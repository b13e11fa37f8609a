/** How a path is made one that all hops read in the same way. */
export interface PathNormalization {
  /** RFC 3986 §6: dot segments and needless percent-encodings go; a backslash is a slash. */
  readonly normalizes: boolean;
  readonly mergesSlashes: boolean;
  /** What to do with %2F and %5C. */
  readonly escapedSlashes: 'keep' | 'reject' | 'unescape-and-redirect' | 'unescape-and-forward';
}

export type NormalizedPath =
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'redirect'; readonly path: string }
  | { readonly kind: 'invalid'; readonly details: string };

const SUSPICIOUS = /%|\\|\/\/|\/\./;

/**
 * In Envoy's order: escaped slashes, RFC 3986, merged slashes. The query is left as it is.
 * undefined: the path may stay as it is. Source: envoy ConnectionManagerUtility::maybeNormalizePath and PathUtil (1.40).
 */
export function normalizePath(path: string, options: PathNormalization): NormalizedPath | undefined {
  if (!SUSPICIOUS.test(path)) return undefined;
  const query = path.indexOf('?');
  const rest = query < 0 ? '' : path.slice(query);
  let result = query < 0 ? path : path.slice(0, query);
  let isRedirect = false;
  if (options.escapedSlashes !== 'keep' && /%2f|%5c/i.test(result)) {
    if (options.escapedSlashes === 'reject') return { kind: 'invalid', details: 'path_normalization_failed' };
    isRedirect = options.escapedSlashes === 'unescape-and-redirect';
    result = result.replace(/%2f/gi, '/').replace(/%5c/gi, '\\');
  }
  if (options.normalizes) {
    const normalized = rfc3986(result);
    if (normalized === undefined) return { kind: 'invalid', details: 'path_normalization_failed' };
    result = normalized;
  }
  if (options.mergesSlashes) result = result.replace(/\/{2,}/g, '/');
  if (result + rest === path) return undefined;
  return { kind: isRedirect ? 'redirect' : 'path', path: result + rest };
}

function rfc3986(path: string): string | undefined {
  // A percent sign that begins no escape stays as it is.
  if (/%00/.test(path)) return undefined;
  const decoded = path.replaceAll('\\', '/').replace(/%([0-9A-Fa-f]{2})/g, (whole, hex: string) => {
    const letter = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9\-._~]/.test(letter) ? letter : whole;
  });
  return removeDotSegments(decoded);
}

// RFC 3986 §5.2.4; going above the root stays at the root.
function removeDotSegments(path: string): string {
  if (!path.includes('/.')) return path;
  const segments = path.split('/');
  const kept: string[] = [];
  for (let index = 0; index < segments.length; index++) {
    const segment = segments[index] as string;
    const isLast = index === segments.length - 1;
    if (segment === '.') {
      if (isLast) kept.push('');
    } else if (segment === '..') {
      if (kept.length > 1) kept.pop();
      if (isLast) kept.push('');
    } else kept.push(segment);
  }
  return kept.join('/');
}
