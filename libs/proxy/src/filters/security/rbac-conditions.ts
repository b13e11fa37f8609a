import { isIP } from 'node:net';
import { create } from '@bufbuild/protobuf';
import {
  compileHeaderMatchers,
  compileMetadataMatcher,
  compileStringMatcher,
  type Field,
  type MetadataReader,
  pathOnly,
  type StringPredicate,
} from '@mizzen/matching';
import type { CidrRange } from '@mizzen/xds-api/envoy/config/core/v3/address';
import type { Permission, Principal, Principal_Authenticated } from '@mizzen/xds-api/envoy/config/rbac/v3/rbac';
import { type HeaderMatcher, HeaderMatcherSchema } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { PathMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/path';
import type { StringMatcher } from '@mizzen/xds-api/envoy/type/matcher/v3/string';
import type { DownstreamConnection, SocketAddress } from '../../contract.ts';
import type { HttpStreamInfo } from '../../http/stream-info.ts';
import { compileIpRange } from './ip-range.ts';
import { compileUriTemplate } from './uri-template.ts';

/** Whether something holds of a connection and, where there is one, of a request on it. Allocates nothing of its own. */
export type RbacCondition = (connection: DownstreamConnection, request: HttpStreamInfo | undefined) => boolean;

const NEVER: RbacCondition = () => false;
const ALWAYS: RbacCondition = () => true;

// A policy may be nested; what nobody writes by hand must not end in a stack overflow.
const MAX_DEPTH = 64;

/** Source: envoy.config.rbac.v3.Permission; envoy Filters::Common::RBAC::Matcher (1.40). */
export function compilePermission({ rule }: Permission, field: Field, depth = 0): RbacCondition {
  if (depth > MAX_DEPTH) return rejectDepth(field);
  switch (rule.case) {
    case 'andRules':
      return all(rule.value.rules.map((each, index) => compilePermission(each, field.child('and_rules').child('rules', index), depth + 1)));
    case 'orRules':
      return any(rule.value.rules.map((each, index) => compilePermission(each, field.child('or_rules').child('rules', index), depth + 1)));
    case 'notRule':
      return not(compilePermission(rule.value, field.child('not_rule'), depth + 1));
    case 'any':
      return ALWAYS;
    case 'header':
      return compileHeader(rule.value, field.child('header'));
    case 'urlPath':
      return compilePath(rule.value, field.child('url_path'));
    case 'destinationIp':
      return compileAddress(rule.value, field.child('destination_ip'), (connection) => hostOf(connection.localAddress));
    case 'destinationPort': {
      const port = rule.value;
      return ({ localAddress }) => localAddress.kind === 'ip' && localAddress.port === port;
    }
    case 'destinationPortRange': {
      const { start, end } = rule.value;
      if (start < 0 || end > 65_536 || start >= end)
        field.child('destination_port_range').reject('must be within 0 and 65536, start below end');
      return ({ localAddress }) => localAddress.kind === 'ip' && localAddress.port >= start && localAddress.port < end;
    }
    case 'metadata':
      return withMetadata(compileMetadataMatcher(rule.value, field.child('metadata')));
    case 'requestedServerName': {
      const matches = compileStringMatcher(rule.value, field.child('requested_server_name'));
      return ({ tls, requestedServerName }) => matches(requestedServerName ?? tls?.requestedServerName ?? '');
    }
    case 'uriTemplate': {
      const matches = compileUriTemplate(rule.value, field.child('uri_template'));
      return (_connection, request) => request !== undefined && request.path !== '' && matches(pathOnly(request.path));
    }
    case 'matcher':
      field.child('matcher').reject(`is not supported by this proxy (${rule.value.name})`);
      return NEVER;
    default:
      field.reject('needs a rule that this proxy knows');
      return NEVER;
  }
}

/** Source: envoy.config.rbac.v3.Principal. */
export function compilePrincipal({ identifier }: Principal, field: Field, depth = 0): RbacCondition {
  if (depth > MAX_DEPTH) return rejectDepth(field);
  switch (identifier.case) {
    case 'andIds':
      return all(identifier.value.ids.map((each, index) => compilePrincipal(each, field.child('and_ids').child('ids', index), depth + 1)));
    case 'orIds':
      return any(identifier.value.ids.map((each, index) => compilePrincipal(each, field.child('or_ids').child('ids', index), depth + 1)));
    case 'notId':
      return not(compilePrincipal(identifier.value, field.child('not_id'), depth + 1));
    case 'any':
      return ALWAYS;
    case 'authenticated':
      return compileAuthenticated(identifier.value, field.child('authenticated'));
    case 'sourceIp':
      return compileAddress(identifier.value, field.child('source_ip'), (connection) => hostOf(connection.remoteAddress));
    case 'directRemoteIp':
      return compileAddress(identifier.value, field.child('direct_remote_ip'), (connection) =>
        hostOf(connection.directRemoteAddress ?? connection.remoteAddress),
      );
    case 'remoteIp':
      return compileAddress(identifier.value, field.child('remote_ip'), clientHost);
    case 'header':
      return compileHeader(identifier.value, field.child('header'));
    case 'urlPath':
      return compilePath(identifier.value, field.child('url_path'));
    case 'metadata':
      return withMetadata(compileMetadataMatcher(identifier.value, field.child('metadata')));
    case 'filterState':
      return compileFilterState(identifier.value, field.child('filter_state'));
    default:
      field.reject('needs an identifier that this proxy knows');
      return NEVER;
  }
}

function rejectDepth(field: Field): RbacCondition {
  field.reject(`is nested deeper than ${MAX_DEPTH} levels`);
  return NEVER;
}

function all(conditions: readonly RbacCondition[]): RbacCondition {
  if (conditions.length === 1) return conditions[0] as RbacCondition;
  return (connection, request) => {
    for (const holds of conditions) if (!holds(connection, request)) return false;
    return true;
  };
}

/** Holds where one of the conditions does. */
export function any(conditions: readonly RbacCondition[]): RbacCondition {
  if (conditions.length === 1) return conditions[0] as RbacCondition;
  return (connection, request) => {
    for (const holds of conditions) if (holds(connection, request)) return true;
    return false;
  };
}

function not(condition: RbacCondition): RbacCondition {
  return (connection, request) => !condition(connection, request);
}

function compileAddress(
  range: CidrRange,
  field: Field,
  hostOfRequest: (connection: DownstreamConnection, request: HttpStreamInfo | undefined) => string,
): RbacCondition {
  const contains = compileIpRange(range, field);
  return (connection, request) => contains(hostOfRequest(connection, request));
}

function hostOf(address: SocketAddress): string {
  return address.kind === 'ip' ? address.host : '';
}

// What x-forwarded-for tells may be no address at all: then the peer is the client, as in Envoy.
function clientHost(connection: DownstreamConnection, request: HttpStreamInfo | undefined): string {
  const text = request?.downstreamRemoteAddress ?? '';
  const host = text.slice(0, text.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');
  return isIP(host) === 0 ? hostOf(connection.remoteAddress) : host;
}

// URI and DNS names of the certificate, then its subject; any TLS will do where no name is asked for.
function compileAuthenticated({ principalName }: Principal_Authenticated, field: Field): RbacCondition {
  if (principalName === undefined) return ({ tls }) => tls !== undefined;
  const matches = compileStringMatcher(principalName, field.child('principal_name'));
  return ({ tls }) => {
    if (tls === undefined) return false;
    if (tls.peer === undefined) return matches('');
    for (const name of tls.peer.uriSans) if (matches(name)) return true;
    for (const name of tls.peer.dnsSans) if (matches(name)) return true;
    return matches(tls.peer.subject);
  };
}

/** Where Istio keeps the peer's SPIFFE id. Source: istio security/authz/model/generator.go (1.32 dev). */
const PEER_PRINCIPAL = 'io.istio.peer_principal';

function compileFilterState(matcher: Extract<Principal['identifier'], { case: 'filterState' }>['value'], field: Field): RbacCondition {
  if (matcher.matcher.case !== 'stringMatch') {
    field.reject('needs string_match');
    return NEVER;
  }
  const matches = compileStringMatcher(matcher.matcher.value, field.child('string_match'));
  const { key } = matcher;
  return ({ tls, filterState }, request) => {
    const set = request?.filterState?.get(key) ?? filterState?.objects?.get(key);
    // Without a filter that sets it, it is what the certificate says.
    const text = set?.value ?? (key === PEER_PRINCIPAL ? tls?.peer?.uriSans[0] : undefined);
    return text !== undefined && matches(text);
  };
}

function withMetadata(matches: (read: MetadataReader) => boolean): RbacCondition {
  const nothing: MetadataReader = () => undefined;
  return (connection, request) => {
    if (request === undefined) {
      const ofConnection = connection.filterState?.dynamicMetadata;
      return matches(ofConnection === undefined ? nothing : (namespace) => ofConnection[namespace]);
    }
    const { dynamicMetadata } = request;
    return matches(dynamicMetadata === undefined ? nothing : (namespace) => dynamicMetadata.get(namespace));
  };
}

function compilePath({ rule }: PathMatcher, field: Field): RbacCondition {
  if (rule.case !== 'path') {
    field.reject('needs path');
    return NEVER;
  }
  const matches = compileWireText(rule.value, field.child('path'));
  return (_connection, request) => request !== undefined && request.path !== '' && matches(pathOnly(request.path));
}

/**
 * Header values are compared as they came, one character for a byte, so that a byte that is no UTF-8 cannot hide a value from a regular
 * expression (ISTIO-SECURITY-2026-006). Only a pattern that is not ASCII itself needs the text that the bytes stand for.
 */
function compileWireText(matcher: StringMatcher, field: Field): StringPredicate {
  const matches = compileStringMatcher(matcher, field);
  return isAscii(patternOf(matcher)) ? matches : (value) => matches(wireToText(value));
}

function compileHeader(matcher: HeaderMatcher, field: Field): RbacCondition {
  const compile = (message: HeaderMatcher): ((lookup: (name: string) => string | undefined) => boolean) =>
    compileHeaderMatchers([message], field)[0] as (lookup: (name: string) => string | undefined) => boolean;
  const name = matcher.name.toLowerCase();
  const matchesMissing = compile(matcher);
  const matchesOne = compile(create(HeaderMatcherSchema, { ...matcher, invertMatch: false }));
  const { invertMatch } = matcher;
  const toText = isAscii(headerPatternOf(matcher)) ? (value: string) => value : wireToText;
  let current: string | undefined;
  const readCurrent = (): string | undefined => current;
  const holds = (value: string): boolean => {
    current = toText(value);
    return matchesOne(readCurrent);
  };
  const missing = (): boolean => {
    current = undefined;
    return matchesMissing(readCurrent);
  };
  // Each value of a header that was sent several times is looked at: joined, `admin` could hide behind a second one (ISTIO-SECURITY-2026-001).
  return (_connection, request) => {
    if (request === undefined) return missing();
    const { names, values } = request.head.headers;
    let isPresent = false;
    for (let index = 0; index < names.length; index++) {
      if (names[index] !== name) continue;
      isPresent = true;
      if (holds(values[index] as string)) return !invertMatch;
    }
    if (isPresent) return invertMatch;
    // Host, content-length and upgrade are no headers any more, pseudo headers never were.
    const value = request.requestHeader(name);
    return value === undefined ? missing() : holds(value) !== invertMatch;
  };
}

function patternOf({ matchPattern }: StringMatcher): string {
  if (matchPattern.case === undefined || matchPattern.case === 'custom') return '';
  return matchPattern.case === 'safeRegex' ? matchPattern.value.regex : matchPattern.value;
}

function headerPatternOf({ headerMatchSpecifier: specifier }: HeaderMatcher): string {
  if (specifier.case === 'stringMatch') return patternOf(specifier.value);
  if (specifier.case === 'safeRegexMatch') return specifier.value.regex;
  return typeof specifier.value === 'string' ? specifier.value : '';
}

function isAscii(text: string): boolean {
  return /^[\0-\x7f]*$/.test(text);
}

function wireToText(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8');
}
