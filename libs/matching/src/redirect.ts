import { type RedirectAction, RedirectAction_RedirectResponseCode } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Field } from './field.ts';
import type { PathMatch } from './path-match.ts';
import { compilePathRewrite, type PathRewrite, withQueryOf } from './path-rewrite.ts';
import { pathOnly, type RequestView } from './request.ts';
import { stripPort } from './virtual-hosts.ts';

export interface CompiledRedirect {
  readonly status: number;
  location(request: RequestView): string;
}

const STATUS: Readonly<Record<number, number>> = {
  [RedirectAction_RedirectResponseCode.MOVED_PERMANENTLY]: 301,
  [RedirectAction_RedirectResponseCode.FOUND]: 302,
  [RedirectAction_RedirectResponseCode.SEE_OTHER]: 303,
  [RedirectAction_RedirectResponseCode.TEMPORARY_REDIRECT]: 307,
  [RedirectAction_RedirectResponseCode.PERMANENT_REDIRECT]: 308,
};

/** What `require_tls` of a virtual host answers. */
export const TLS_REDIRECT: CompiledRedirect = { status: 301, location: (request) => `https://${request.authority}${request.path}` };

export function compileRedirect(action: RedirectAction, match: PathMatch, field: Field): CompiledRedirect {
  const specifier = action.schemeRewriteSpecifier;
  const scheme =
    specifier.case === 'schemeRedirect' ? specifier.value : specifier.case === 'httpsRedirect' && specifier.value ? 'https' : '';
  const rewritePath = compileRedirectPath(action, match, field);
  const { hostRedirect, portRedirect, stripQuery } = action;
  return {
    status: STATUS[action.responseCode] ?? 301,
    location(request) {
      const newScheme = scheme === '' ? request.scheme : scheme;
      const host = hostRedirect === '' ? redirectHost(request, { removesPort: portRedirect !== 0, newScheme }) : hostRedirect;
      const path = rewritePath(request.path);
      return `${newScheme}://${host}${portRedirect === 0 ? '' : `:${portRedirect}`}${stripQuery ? pathOnly(path) : path}`;
    },
  };
}

// A port that is the default of the scheme before must not stay behind: http://a:80/ → https://a/. Source: envoy processRequestHost (1.40).
function redirectHost({ authority, scheme }: RequestView, how: { readonly removesPort: boolean; readonly newScheme: string }): string {
  const isDefault = (scheme === 'http' && authority.endsWith(':80')) || (scheme === 'https' && authority.endsWith(':443'));
  return how.removesPort || (isDefault && scheme !== how.newScheme) ? stripPort(authority) : authority;
}

function compileRedirectPath(action: RedirectAction, match: PathMatch, field: Field): PathRewrite {
  const specifier = action.pathRewriteSpecifier;
  switch (specifier.case) {
    case 'pathRedirect': {
      const target = specifier.value;
      return target.includes('?') ? () => target : (path) => withQueryOf(path, target);
    }
    case 'prefixRewrite':
      return compilePathRewrite({ prefix: specifier.value, regex: undefined }, match, field) ?? ((path) => path);
    case 'regexRewrite':
      return compilePathRewrite({ prefix: '', regex: specifier.value }, match, field) ?? ((path) => path);
    default:
      return (path) => path;
  }
}
