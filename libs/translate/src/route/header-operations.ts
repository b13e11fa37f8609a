import type { Headers } from '@mizzen/mesh-api';
import { HeaderValueOption_HeaderAppendAction, type HeaderValueOptionSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { Init } from '../messages.ts';

type HeaderValueOption = Init<typeof HeaderValueOptionSchema>;

export interface HeaderFields {
  requestHeadersToAdd?: HeaderValueOption[];
  requestHeadersToRemove?: string[];
  responseHeadersToAdd?: HeaderValueOption[];
  responseHeadersToRemove?: string[];
}

/** Header operations of a route or of one destination; only the fields that are not empty. */
export function headerFields(headers: Headers | undefined): HeaderFields {
  const { request, response } = headers ?? {};
  const fields: HeaderFields = {};
  const requestAdd = [
    ...valueOptions(request?.set, HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD),
    ...valueOptions(request?.add, HeaderValueOption_HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD),
  ];
  const responseAdd = [
    ...valueOptions(response?.set, HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD),
    ...valueOptions(response?.add, HeaderValueOption_HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD),
  ];
  const requestRemove = removable(request?.remove);
  const responseRemove = removable(response?.remove);
  if (requestAdd.length > 0) fields.requestHeadersToAdd = requestAdd;
  if (requestRemove.length > 0) fields.requestHeadersToRemove = requestRemove;
  if (responseAdd.length > 0) fields.responseHeadersToAdd = responseAdd;
  if (responseRemove.length > 0) fields.responseHeadersToRemove = responseRemove;
  return fields;
}

/** Both, the second after the first. */
export function joinHeaderFields(a: HeaderFields, b: HeaderFields): HeaderFields {
  const joined: HeaderFields = { ...a, ...b };
  if (a.requestHeadersToAdd && b.requestHeadersToAdd) joined.requestHeadersToAdd = [...a.requestHeadersToAdd, ...b.requestHeadersToAdd];
  if (a.requestHeadersToRemove && b.requestHeadersToRemove)
    joined.requestHeadersToRemove = [...a.requestHeadersToRemove, ...b.requestHeadersToRemove];
  if (a.responseHeadersToAdd && b.responseHeadersToAdd)
    joined.responseHeadersToAdd = [...a.responseHeadersToAdd, ...b.responseHeadersToAdd];
  if (a.responseHeadersToRemove && b.responseHeadersToRemove)
    joined.responseHeadersToRemove = [...a.responseHeadersToRemove, ...b.responseHeadersToRemove];
  return joined;
}

/** Setting Host rewrites the authority; it is no header operation. Source: istio route.go translateHeadersOperations (1.32 dev). */
export function authorityOf(headers: Headers | undefined): string | undefined {
  const found = Object.entries(headers?.request?.set ?? {}).find(([name]) => isAuthority(name));
  return found?.[1];
}

function valueOptions(
  values: Readonly<Record<string, string>> | undefined,
  appendAction: HeaderValueOption_HeaderAppendAction,
): HeaderValueOption[] {
  return Object.keys(values ?? {})
    .filter((name) => isOrdinary(name))
    .sort()
    .map((key) => ({ header: { key, value: values?.[key] ?? '' }, appendAction }));
}

function removable(names: readonly string[] | undefined): string[] {
  return (names ?? []).filter((name) => isOrdinary(name));
}

// Envoy refuses to change pseudo-headers and Host this way.
function isOrdinary(name: string): boolean {
  return !name.startsWith(':') && !isAuthority(name);
}

function isAuthority(name: string): boolean {
  return name.toLowerCase() === 'host' || name.toLowerCase() === ':authority';
}
