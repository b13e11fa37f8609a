import type { RouteAction_HashPolicy } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { queryParameter } from './conditions.ts';
import { durationMs } from './duration.ts';
import { type Field, refuseFields } from './field.ts';
import type { RequestView } from './request.ts';
import { compileSubstitution } from './strings.ts';
import { xxHash64 } from './xx-hash.ts';

/** What hashing may read beside the request. */
export interface HashInput {
  readonly request: RequestView;
  /** The client's address without port. */
  readonly sourceAddress: string;
  /** Is given the `set-cookie` value where the policy makes a cookie. */
  setCookie(value: string): void;
  /** A value that no other request has, for cookies that are made. */
  uniqueValue(): string;
}

/** A hash of a request, of 64 bits, unsigned; or undefined where no policy applies. */
export type RequestHash = (input: HashInput) => bigint | undefined;

export function compileHashPolicies(policies: readonly RouteAction_HashPolicy[], field: Field): RequestHash | undefined {
  if (policies.length === 0) return undefined;
  const parts = policies.map((policy, index) => ({ read: compileHashPart(policy, field.at(index)), isTerminal: policy.terminal }));
  return (input) => {
    let hash: bigint | undefined;
    for (const { read, isTerminal } of parts) {
      const value = read(input);
      // Rotated before it is mixed, so that equal parts do not cancel each other. Source: envoy HashPolicyImpl (1.40).
      if (value !== undefined)
        hash = hash === undefined ? xxHash64(value) : BigInt.asUintN(64, (hash << 1n) | (hash >> 63n)) ^ xxHash64(value);
      if (isTerminal && hash !== undefined) break;
    }
    return hash;
  };
}

function compileHashPart(policy: RouteAction_HashPolicy, field: Field): (input: HashInput) => string | undefined {
  const specifier = policy.policySpecifier;
  switch (specifier.case) {
    case 'header': {
      const name = specifier.value.headerName.toLowerCase();
      const rewrite =
        specifier.value.regexRewrite === undefined
          ? undefined
          : compileSubstitution(specifier.value.regexRewrite, field.child('header.regex_rewrite'));
      return ({ request }) => {
        const value = name === ':path' ? request.path : name === ':authority' ? request.authority : request.header(name);
        return value === undefined || rewrite === undefined ? value : rewrite(value);
      };
    }
    case 'cookie': {
      const { name, ttl, path, attributes } = specifier.value;
      const ttlMs = durationMs(ttl);
      return (input) => {
        const present = cookieValue(input.request.header('cookie'), name);
        if (present !== undefined || ttlMs === undefined) return present;
        const made = input.uniqueValue();
        const more = attributes.map(({ name: key, value }) => (value === '' ? `; ${key}` : `; ${key}=${value}`)).join('');
        input.setCookie(
          `${name}="${made}"${ttlMs > 0 ? `; Max-Age=${Math.floor(ttlMs / 1000)}` : ''}${path === '' ? '' : `; Path=${path}`}${more}; HttpOnly`,
        );
        return made;
      };
    }
    case 'connectionProperties':
      return specifier.value.sourceIp ? (input) => input.sourceAddress : () => undefined;
    case 'queryParameter':
      return ({ request }) => queryParameter(request.path, specifier.value.name);
    case 'filterState':
      refuseFields(field, { filterState: specifier.value }, ['filterState']);
      return () => undefined;
    default:
      field.reject('needs one of header, cookie, connection_properties, query_parameter');
      return () => undefined;
  }
}

function cookieValue(cookies: string | undefined, name: string): string | undefined {
  for (const pair of cookies?.split(/[;,]/) ?? []) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === name)
      return pair
        .slice(equals + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1');
  }
  return undefined;
}

/** FNV-1a with the finaliser of MurmurHash3, so that texts that differ in their last letter land far apart. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
