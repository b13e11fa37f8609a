import { type Field, RETRY_CONDITIONS, refuseFields } from '@mizzen/matching';
import type { Router } from '@mizzen/xds-api/envoy/extensions/filters/http/router/v3/router';
import type { HeaderMap } from './headers.ts';
import type { LocalReply } from './local-reply.ts';

/** What the router filter's own message says. */
export interface RouterConfig {
  /** No x-envoy-* is added to requests and answers. */
  readonly suppressesEnvoyHeaders: boolean;
  /** What the proxy in front expects counts as the timeout. */
  readonly respectsExpectedTimeout: boolean;
  /** Headers of the request that must hold what the router can use. */
  readonly strictHeaders: readonly string[];
}

export const DEFAULT_ROUTER_CONFIG: RouterConfig = { suppressesEnvoyHeaders: false, respectsExpectedTimeout: false, strictHeaders: [] };

const isNumber = (value: string): boolean => /^\d{1,20}$/.test(value);
const areConditions = (value: string): boolean => value.split(',').every((word) => RETRY_CONDITIONS.some((known) => known === word.trim()));

/** Source: envoy FilterUtility::StrictHeaderChecker (1.40). */
const CHECKS: Readonly<Record<string, (value: string) => boolean>> = {
  'x-envoy-upstream-rq-timeout-ms': isNumber,
  'x-envoy-upstream-rq-per-try-timeout-ms': isNumber,
  'x-envoy-max-retries': isNumber,
  'x-envoy-retry-on': areConditions,
  'x-envoy-retry-grpc-on': areConditions,
};

export function compileRouterConfig(message: Router | undefined, field: Field): RouterConfig {
  if (message === undefined) return DEFAULT_ROUTER_CONFIG;
  refuseFields(field, message, ['upstreamLog', 'upstreamLogOptions', 'upstreamHttpFilters']);
  if (message.dynamicStats === false)
    field.child('dynamic_stats').reject('false is not supported by this proxy: it counts answers by status');
  return {
    suppressesEnvoyHeaders: message.suppressEnvoyHeaders,
    respectsExpectedTimeout: message.respectExpectedRqTimeout,
    strictHeaders: message.strictCheckHeaders.map((name, index) => {
      const lower = name.toLowerCase();
      if (CHECKS[lower] === undefined)
        field.child('strict_check_headers', index).reject(`"${name}" cannot be checked; can be: ${Object.keys(CHECKS).join(', ')}`);
      return lower;
    }),
  };
}

/** The answer to a request with a header that does not hold what it should; undefined where all do. */
export function refuseByHeaders(headers: HeaderMap, strictHeaders: readonly string[]): LocalReply | undefined {
  for (const name of strictHeaders) {
    const value = headers.get(name);
    if (value === undefined || CHECKS[name]?.(value) === true) continue;
    return {
      status: 400,
      details: `request_headers_failed_strict_check{${name}}`,
      flag: 'invalidEnvoyRequestHeaders',
      body: `invalid header '${name}' with value '${value}'`,
    };
  }
  return undefined;
}
