import {
  type RateLimit,
  type RateLimit_Action,
  RateLimit_Action_MetaData_Source,
} from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { MetadataKey } from '@mizzen/xds-api/envoy/type/metadata/v3/metadata';
import { compileQueryParameters, compileRequestHeaders, type RequestCondition } from './conditions.ts';
import { type Field, refuseFields } from './field.ts';
import { type MetadataReader, valueAt } from './metadata-matcher.ts';
import type { RequestView } from './request.ts';

/** What rate limit actions look at. */
export interface RateLimitSource {
  readonly request: RequestView;
  /** The cluster that this proxy belongs to (node.cluster). */
  readonly sourceCluster: string;
  readonly destinationCluster: string;
  /** The client's address without a port; '' where it has none. */
  readonly clientHost: string;
  readonly dynamicMetadata: MetadataReader;
}

export interface RateLimitEntry {
  readonly key: string;
  readonly value: string;
}

/** What is limited: one descriptor for each request, of the entries that the actions make. */
export interface CompiledRateLimit {
  readonly stage: number;
  /** Names what switches it off at run time, or ''. */
  readonly disableKey: string;
  /** undefined: an action has nothing to say of this request, and there is no descriptor. */
  describe(source: RateLimitSource): readonly RateLimitEntry[] | undefined;
}

/** 'skip': the others still make a descriptor; undefined: none of them does. */
type Action = (source: RateLimitSource) => RateLimitEntry | 'skip' | undefined;

const MAX_STAGE = 10;

/** Source: envoy RateLimitPolicyEntryImpl (1.40). */
export function compileRateLimits(messages: readonly RateLimit[], field: Field): readonly CompiledRateLimit[] {
  return messages.map((message, index) => {
    const at = field.at(index);
    refuseFields(at, message, ['limit']);
    if ((message.stage ?? 0) > MAX_STAGE) at.child('stage').reject(`must be at most ${MAX_STAGE}`);
    if (message.actions.length === 0) at.child('actions').reject('needs at least one action');
    const actions = message.actions.map((action, position) => compileAction(action, at.child('actions', position)));
    return { stage: message.stage ?? 0, disableKey: message.disableKey, describe: (source) => describe(actions, source) };
  });
}

function describe(actions: readonly Action[], source: RateLimitSource): readonly RateLimitEntry[] | undefined {
  const entries: RateLimitEntry[] = [];
  for (const action of actions) {
    const entry = action(source);
    if (entry === undefined) return undefined;
    if (entry !== 'skip') entries.push(entry);
  }
  return entries.length === 0 ? undefined : entries;
}

function compileAction({ actionSpecifier }: RateLimit_Action, field: Field): Action {
  switch (actionSpecifier.case) {
    case 'sourceCluster':
      return ({ sourceCluster: value }) => ({ key: 'source_cluster', value });
    case 'destinationCluster':
      return ({ destinationCluster: value }) => ({ key: 'destination_cluster', value });
    case 'requestHeaders': {
      const { headerName, descriptorKey: key, skipIfAbsent } = actionSpecifier.value;
      if (headerName === '') field.child('request_headers').child('header_name').reject('is required');
      if (key === '') field.child('request_headers').child('descriptor_key').reject('is required');
      const name = headerName.toLowerCase();
      return ({ request }) => {
        const value = request.header(name);
        return value === undefined ? absent(skipIfAbsent) : { key, value };
      };
    }
    case 'remoteAddress':
      return ({ clientHost: value }) => (value === '' ? undefined : { key: 'remote_address', value });
    case 'maskedRemoteAddress': {
      const { v4PrefixMaskLen = 32, v6PrefixMaskLen = 128 } = actionSpecifier.value;
      if (v4PrefixMaskLen > 32) field.child('masked_remote_address').child('v4_prefix_mask_len').reject('must be at most 32');
      if (v6PrefixMaskLen > 128) field.child('masked_remote_address').child('v6_prefix_mask_len').reject('must be at most 128');
      return ({ clientHost }) =>
        clientHost === '' ? undefined : { key: 'masked_remote_address', value: masked(clientHost, v4PrefixMaskLen, v6PrefixMaskLen) };
    }
    case 'genericKey': {
      const { descriptorKey, descriptorValue: value } = actionSpecifier.value;
      if (value === '') field.child('generic_key').child('descriptor_value').reject('is required');
      const entry = { key: descriptorKey === '' ? 'generic_key' : descriptorKey, value };
      return () => entry;
    }
    case 'headerValueMatch':
      return valueMatch(actionSpecifier.value, {
        defaultKey: 'header_match',
        conditions: compileRequestHeaders(actionSpecifier.value.headers, field.child('header_value_match')),
        field: field.child('header_value_match'),
      });
    case 'queryParameterValueMatch':
      return valueMatch(actionSpecifier.value, {
        defaultKey: 'query_match',
        conditions: compileQueryParameters(actionSpecifier.value.queryParameters, field.child('query_parameter_value_match')),
        field: field.child('query_parameter_value_match'),
      });
    case 'metadata': {
      const at = field.child('metadata');
      if (actionSpecifier.value.source !== RateLimit_Action_MetaData_Source.DYNAMIC) at.child('source').reject('only DYNAMIC is supported');
      return metadataAction(actionSpecifier.value, at);
    }
    case 'dynamicMetadata':
      return metadataAction({ ...actionSpecifier.value, skipIfAbsent: false }, field.child('dynamic_metadata'));
    default:
      field.reject(`needs an action that this proxy has${actionSpecifier.case === 'extension' ? '; extensions are not supported' : ''}`);
      return () => undefined;
  }
}

function absent(skips: boolean): 'skip' | undefined {
  return skips ? 'skip' : undefined;
}

function valueMatch(
  message: { readonly descriptorKey: string; readonly descriptorValue: string; readonly expectMatch?: boolean | undefined },
  options: { readonly defaultKey: string; readonly conditions: readonly RequestCondition[]; readonly field: Field },
): Action {
  const { descriptorKey, descriptorValue: value, expectMatch = true } = message;
  if (value === '') options.field.child('descriptor_value').reject('is required');
  const entry = { key: descriptorKey === '' ? options.defaultKey : descriptorKey, value };
  return ({ request }) => (options.conditions.every((holds) => holds(request)) === expectMatch ? entry : undefined);
}

function metadataAction(
  message: {
    readonly descriptorKey: string;
    readonly metadataKey?: MetadataKey | undefined;
    readonly defaultValue: string;
    readonly skipIfAbsent: boolean;
  },
  field: Field,
): Action {
  const { descriptorKey: key, metadataKey, defaultValue, skipIfAbsent } = message;
  if (key === '') field.child('descriptor_key').reject('is required');
  if (metadataKey === undefined) field.child('metadata_key').reject('is required');
  const path = (metadataKey?.path ?? []).map(({ segment }) => segment.value ?? '');
  const namespace = metadataKey?.key ?? '';
  return ({ dynamicMetadata }) => {
    const found = valueAt(dynamicMetadata(namespace), path);
    const value = typeof found === 'string' && found !== '' ? found : defaultValue;
    return value === '' ? absent(skipIfAbsent) : { key, value };
  };
}

/** `10.1.2.3` and 16: `10.1.0.0/16`. */
function masked(host: string, v4Bits: number, v6Bits: number): string {
  const isV6 = host.includes(':');
  const bits = isV6 ? v6Bits : v4Bits;
  const parts = isV6 ? v6Groups(host) : host.split('.').map(Number);
  const width = isV6 ? 16 : 8;
  const kept = parts.map((part, index) => {
    const free = Math.min(width, Math.max(0, (index + 1) * width - bits));
    return (part >> free) << free;
  });
  return `${isV6 ? v6Text(kept) : kept.join('.')}/${bits}`;
}

function v6Groups(host: string): number[] {
  const [before = '', after] = host.split('::', 2);
  const numbers = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const head = numbers(before);
  if (after === undefined) return head;
  const tail = numbers(after);
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

/** The longest run of zeros is left out (RFC 5952). */
function v6Text(groups: readonly number[]): string {
  return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]`).hostname.slice(1, -1);
}
