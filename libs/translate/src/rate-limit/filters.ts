import type { RateLimitRule } from '@mizzen/mesh-api';
import type { ProxyView, RateLimitService } from '@mizzen/model';
import { ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import {
  type Config_RuleSchema,
  ConfigSchema as HeaderToMetadataSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata';
import { LocalRateLimitSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit';
import {
  RateLimit_XRateLimitHeadersRFCVersion,
  RateLimitSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/ratelimit/v3/rate_limit';
import type { HttpFilterSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { FractionalPercent_DenominatorType } from '@mizzen/xds-api/envoy/type/v3/percent';
import { any, duration, type Init } from '../messages.ts';
import { outboundClusterName } from '../names.ts';
import { CERTIFICATE_HEADER } from './conditions.ts';
import { BY_METADATA, dimensionKey, RULE_KEY } from './descriptors.ts';
import { GLOBAL_STAGE, GUARDED_STAGE, LOCAL_STAGE, type NamedRule, type RateLimitStage, rulesOf } from './rules.ts';

type HttpFilterInit = Init<typeof HttpFilterSchema>;
type MetadataRuleInit = Init<typeof Config_RuleSchema>;

/** Tells the counters of this mesh's limits from anybody else's at the service. */
const DOMAIN = 'mizzen';
/** A service that is gone refuses at once; this is for one that does not answer. */
const TIMEOUT_MS = 500;
const UNIT_MS = { SECOND: 1000, MINUTE: 60_000, HOUR: 3_600_000, DAY: 86_400_000 } as const;
/** Without it the filter looks at nothing. */
const ALWAYS = { defaultValue: { numerator: 100, denominator: FractionalPercent_DenominatorType.HUNDRED } };

/** The filters that limit requests where they come in; none where nothing is limited. */
export function rateLimitFilters({ rateLimits, outboundScope }: Pick<ProxyView, 'rateLimits' | 'outboundScope'>): HttpFilterInit[] {
  const rules = rulesOf(rateLimits);
  if (rules.length === 0) return [];
  const service = outboundScope.rateLimitService;
  const ofStage = (stage: RateLimitStage): NamedRule[] => rules.filter((named) => named.stage === stage);
  return [
    ...metadataFilter(rules),
    ...localFilter(ofStage(LOCAL_STAGE)),
    ...(service === undefined
      ? []
      : [GLOBAL_STAGE, GUARDED_STAGE].flatMap((stage) => globalFilter(ofStage(stage as RateLimitStage), service))),
  ];
}

/** One bucket for each rule; what no rule matches is not limited. Source: Envoy, Local rate limit filter (1.40). */
function localFilter(rules: readonly NamedRule[]): HttpFilterInit[] {
  if (rules.length === 0) return [];
  const config = any(LocalRateLimitSchema, {
    statPrefix: 'rate_limit',
    filterEnabled: ALWAYS,
    filterEnforced: ALWAYS,
    stage: LOCAL_STAGE,
    alwaysConsumeDefaultTokenBucket: false,
    descriptors: rules.map(({ id, rule }) => ({
      entries: [{ key: RULE_KEY, value: id }],
      tokenBucket: bucketOf(rule.limit),
    })),
  });
  return [{ name: 'envoy.filters.http.local_ratelimit', configType: { case: 'typedConfig', value: config } }];
}

function bucketOf({ requests, unit = 'SECOND' }: RateLimitRule['limit']) {
  return { maxTokens: requests, tokensPerFill: requests, fillInterval: duration(UNIT_MS[unit]) };
}

/** Asks the service that counts for the whole mesh. Source: Envoy, Rate limit filter (1.40). */
function globalFilter(rules: readonly NamedRule[], { host, port }: RateLimitService): HttpFilterInit[] {
  const [first] = rules;
  if (first === undefined) return [];
  const config = any(RateLimitSchema, {
    domain: DOMAIN,
    stage: first.stage,
    timeout: duration(TIMEOUT_MS),
    failureModeDeny: first.stage === GUARDED_STAGE,
    enableXRatelimitHeaders: RateLimit_XRateLimitHeadersRFCVersion.DRAFT_VERSION_03,
    rateLimitService: {
      grpcService: { targetSpecifier: { case: 'envoyGrpc', value: { clusterName: outboundClusterName({ host, port }), authority: host } } },
      transportApiVersion: ApiVersion.V3,
    },
  });
  const name = first.stage === GUARDED_STAGE ? 'envoy.filters.http.ratelimit.guarded' : 'envoy.filters.http.ratelimit';
  return [{ name, configType: { case: 'typedConfig', value: config } }];
}

/** Puts what tells counters apart where the limits find it: actions can read metadata with a default, but not a part of a header. */
function metadataFilter(rules: readonly NamedRule[]): HttpFilterInit[] {
  const sources = new Map<string, MetadataRuleInit>();
  for (const { rule } of rules) {
    for (const dimension of rule.by ?? []) {
      const key = dimensionKey(dimension);
      const source = metadataRule(key, dimension);
      if (source !== undefined) sources.set(key, source);
    }
  }
  if (sources.size === 0) return [];
  const requestRules = [...sources.keys()].sort().flatMap((key) => sources.get(key) ?? []);
  return [
    {
      name: 'mizzen.rate_limit.by',
      configType: { case: 'typedConfig', value: any(HeaderToMetadataSchema, { requestRules }) },
    },
  ];
}

function metadataRule(key: string, { header, attribute }: NonNullable<RateLimitRule['by']>[number]): MetadataRuleInit | undefined {
  if (header !== undefined) return fromHeader(key, header.toLowerCase());
  switch (attribute) {
    case 'CALLER':
      // The URI of the last entry, or nothing at all: see conditions.ts.
      return fromHeader(key, CERTIFICATE_HEADER, '^(?:.*[;,])?URI=([^;,"]*)(?:;[^"]*)?$|^.*$');
    case 'PATH':
      return fromHeader(key, ':path', '^([^?#]*).*$');
    case 'METHOD':
      return fromHeader(key, ':method');
    default:
      return undefined;
  }
}

function fromHeader(key: string, header: string, regex?: string): MetadataRuleInit {
  return {
    header,
    onHeaderPresent: {
      metadataNamespace: BY_METADATA,
      key,
      ...(regex !== undefined && { regexValueRewrite: { pattern: { regex }, substitution: '\\1' } }),
    },
  };
}
