import { sourceResource } from './istio-names.ts';
import { at, listAt, textAt } from './json.ts';
import type { Section } from './section.ts';

/** `proxy-config routes`: a row for each route of each virtual host. */
export const routeSection: Section = {
  header: ['NAME', 'VHOST NAME', 'DOMAINS', 'MATCH', 'VIRTUAL SERVICE'],
  select: ({ dump }, filter) => dump.routes.filter(({ view }) => filter.name === undefined || textAt(view, 'name') === filter.name),
  rows: ({ view }) =>
    listAt(view, 'virtual_hosts').flatMap((virtualHost) => {
      const front = [textAt(view, 'name'), textAt(virtualHost, 'name'), describeDomains(listAt(virtualHost, 'domains'))];
      const routes = listAt(virtualHost, 'routes');
      if (routes.length === 0) return [[...front, '-', '404']];
      return routes.map((route) => [...front, describeMatch(at(route, 'match')), describeTarget(route)]);
    }),
};

function describeDomains(domains: readonly unknown[]): string {
  const [first = '-', ...others] = [...domains.map(String)].sort((a, b) => a.length - b.length);
  return others.length === 0 ? first : `${first}, +${others.length} more...`;
}

function describeMatch(match: unknown): string {
  const path = textAt(match, 'path');
  if (path !== '') return withConditions(path, match);
  const regex = textAt(match, 'safe_regex', 'regex');
  if (regex !== '') return withConditions(`regex ${regex}`, match);
  const separated = textAt(match, 'path_separated_prefix');
  if (separated !== '') return withConditions(`PathPrefix:${separated}`, match);
  if (at(match, 'connect_matcher') !== undefined) return withConditions('CONNECT', match);
  return withConditions(`${textAt(match, 'prefix')}*`, match);
}

function withConditions(path: string, match: unknown): string {
  const names = [...listAt(match, 'headers'), ...listAt(match, 'query_parameters')].map((condition) => textAt(condition, 'name'));
  return names.length === 0 ? path : `${path} [${names.join(', ')}]`;
}

/** The VirtualService that the route was made from, and for a route of its own making what it does. */
function describeTarget(route: unknown): string {
  const source = sourceResource(route);
  if (source !== '') return source;
  const status = textAt(route, 'direct_response', 'status');
  return status === '' ? '' : status;
}
