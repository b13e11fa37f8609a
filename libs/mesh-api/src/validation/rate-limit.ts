import type { RateLimitRule, RateLimitSpec } from '../kinds/rate-limit.ts';
import type { StringMatch } from '../kinds/shared.ts';
import { isDnsLabel } from './names.ts';
import { atMostOne, given, type Path, type SpecReport } from './report.ts';

/** A header's name as HTTP writes it; a colon would make it one of HTTP/2's own. Source: RFC 9110 5.1. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export function validateRateLimit({ rules }: RateLimitSpec, report: SpecReport): void {
  const names = new Set<string>();
  for (const [index, rule] of rules.entries()) {
    const path = ['rules', index];
    if (!isDnsLabel(rule.name))
      report.error([...path, 'name'], `"${rule.name}" is not a name: lower-case letters, digits and "-", 63 at most`);
    else if (names.has(rule.name)) report.error([...path, 'name'], `"${rule.name}" is the name of an earlier rule; counters go by it`);
    names.add(rule.name);
    validateMatch(rule, path, report);
    validateBy(rule, path, report);
    if (rule.denyOnFailure !== undefined && rule.scope !== 'GLOBAL')
      report.error([...path, 'denyOnFailure'], 'is for scope GLOBAL: a proxy that counts for itself asks nobody that could fail');
  }
}

function validateMatch({ match }: RateLimitRule, path: Path, report: SpecReport): void {
  if (match === undefined) return;
  const at = [...path, 'match'];
  for (const field of ['routes', 'methods', 'principals'] as const)
    if (match[field]?.length === 0) report.error([...at, field], 'an empty list matches nothing; leave it out to match everything');
  checkStringMatch(match.path, [...at, 'path'], report);
  for (const [name, value] of Object.entries(match.headers ?? {})) {
    checkHeaderName(name, [...at, 'headers', name], report);
    checkStringMatch(value, [...at, 'headers', name], report);
  }
  for (const [index, principal] of (match.principals ?? []).entries()) {
    if (principal.slice(1, -1).includes('*'))
      report.error([...at, 'principals', index], `"${principal}" has a "*" inside; it may stand at the start or at the end`);
  }
}

function validateBy({ scope, by }: RateLimitRule, path: Path, report: SpecReport): void {
  if (by === undefined) return;
  const at = [...path, 'by'];
  if (scope !== 'GLOBAL' && by.length > 0)
    report.error(at, 'is for scope GLOBAL: a proxy that counts for itself counts all requests of a rule together');
  for (const [index, dimension] of by.entries()) {
    const here = [...at, index];
    atMostOne(dimension, ['header', 'attribute'], { path: here, report });
    if (given(dimension, ['header', 'attribute']).length === 0) report.error(here, 'needs header or attribute');
    if (dimension.header !== undefined) checkHeaderName(dimension.header, [...here, 'header'], report);
    const name = nameOf(dimension);
    if (by.findIndex((other) => nameOf(other) === name) !== index) report.error(here, `${name} is given twice`);
  }
}

function nameOf({ header, attribute }: { readonly header?: string; readonly attribute?: string }): string {
  return header?.toLowerCase() ?? attribute ?? '';
}

function checkStringMatch(match: StringMatch | undefined, path: Path, report: SpecReport): void {
  atMostOne(match, ['exact', 'prefix', 'regex'], { path, report });
}

function checkHeaderName(name: string, path: Path, report: SpecReport): void {
  if (!HEADER_NAME.test(name)) report.error(path, `"${name}" is not the name of a header`);
}
