import { type Field, refuseFields } from '@mizzen/matching';
import {
  type FilterConfig,
  FilterConfigSchema,
  type PerRouteConfig,
  PerRouteConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy';
import { compileDnsCache } from '../cluster/dns-cache-config.ts';
import { isConfigError } from '../config/config-error.ts';
import type { DnsLoad } from '../contract.ts';
import { defineHttpFilter, type FilterDecision, type HttpFilter, type HttpFilterKind } from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { LocalReply } from '../http/local-reply.ts';
import { forwardedHost } from '../http/router-endpoint.ts';

type Host = (stream: HttpStream) => string | undefined;

export const dynamicForwardProxyFilter: HttpFilterKind = defineHttpFilter({
  schema: FilterConfigSchema,
  create: (message, field, { routeKey }) => new DynamicForwardProxyFilter(cacheName(message, field), routeKey(PerRouteConfigSchema)),
  perRoute: { schema: PerRouteConfigSchema, compile: compileHost },
});

function cacheName(message: FilterConfig, field: Field): string {
  refuseFields(field, message, ['saveUpstreamAddress']);
  const { implementationSpecifier: given } = message;
  if (given.case !== 'dnsCacheConfig') {
    if (given.case === undefined) field.child('dns_cache_config').reject('is required');
    else field.child('sub_cluster_config').reject('is not supported by this proxy; use dns_cache_config');
    return '';
  }
  try {
    return compileDnsCache(given.value).name;
  } catch (thrown) {
    if (!isConfigError(thrown)) throw thrown;
    field.child('dns_cache_config').reject(thrown.message);
    return '';
  }
}

/** What a route puts in the place of the request's host. */
function compileHost({ hostRewriteSpecifier: given }: PerRouteConfig, field: Field): Host {
  if (given.case === 'hostRewriteLiteral') return () => given.value;
  if (given.case === 'hostRewriteHeader') {
    const name = given.value.toLowerCase();
    return ({ info }) => info.requestHeader(name);
  }
  field.reject('needs one of host_rewrite_literal, host_rewrite_header');
  return () => undefined;
}

/** Holds a request to a dynamic forward proxy until its host is resolved. Source: envoy ProxyFilter (1.40). */
class DynamicForwardProxyFilter implements HttpFilter {
  readonly #cacheName: string;
  readonly #key: string;

  constructor(name: string, key: string) {
    this.#cacheName = name;
    this.#key = key;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { info, target, runtime } = stream;
    const hosts = target === undefined ? undefined : runtime.context.cluster(target.cluster)?.dynamicHosts;
    if (hosts === undefined || hosts.cache.name !== this.#cacheName) return 'continue';
    const host = stream.filterConfig<Host>(this.#key)?.(stream);
    if (host !== undefined && host !== '') {
      info.head.authority = host;
      info.authority = host;
    }
    const asked = forwardedHost(info, hosts.defaultPort);
    const load = hosts.cache.load(asked, hosts.defaultPort, () => {
      stream.keep(this, undefined);
      const answered = hosts.cache.load(asked, hosts.defaultPort, () => undefined);
      if (answered.kind === 'known') stream.continueRequest();
      else stream.reply(REPLIES[answered.kind]);
    });
    if (load.kind === 'known') return 'continue';
    if (load.kind === 'pending') stream.keep(this, load);
    else stream.reply(REPLIES[load.kind]);
    return 'stop';
  }

  onStreamEnd(stream: HttpStream): void {
    stream.kept<Extract<DnsLoad, { kind: 'pending' }>>(this)?.cancel();
  }
}

const FAILED: LocalReply = { status: 503, details: 'dns_resolution_failure', flag: 'dnsResolutionFailed', body: 'DNS resolution failure' };
const REPLIES: Readonly<Record<Exclude<DnsLoad['kind'], 'known'>, LocalReply>> = {
  failed: FAILED,
  pending: FAILED,
  overflow: { status: 503, details: 'dns_cache_overflow', flag: undefined, body: 'DNS cache overflow' },
  'pending-overflow': {
    status: 503,
    details: 'dynamic_forward_proxy_pending_request_overflow',
    flag: 'upstreamOverflow',
    body: 'Dynamic forward proxy pending request overflow',
  },
};
