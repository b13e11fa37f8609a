import type { Diagnostic } from '@mizzen/core';
import { type Kind, type Resource, unsupportedFields } from '@mizzen/mesh-api';
import { report } from './report.ts';
import { GUARDING_FIELDS, SUPPORTED_FIELDS, UNSUPPORTED_VALUES } from './supported-fields.ts';

/** Kinds that are read and kept, but have no effect. Ignoring a policy of these leaves doors open that it was written to close. */
const SECURITY_KINDS: ReadonlySet<Kind> = new Set<Kind>(['AuthorizationPolicy', 'RequestAuthentication']);

const found = new WeakMap<Resource, readonly Diagnostic[]>();

/** What of a resource has no effect. */
export function unsupportedParts(resource: Resource): readonly Diagnostic[] {
  let diagnostics = found.get(resource);
  if (diagnostics === undefined) {
    diagnostics = findUnsupported(resource);
    found.set(resource, diagnostics);
  }
  return diagnostics;
}

function findUnsupported(resource: Resource): readonly Diagnostic[] {
  const supported = SUPPORTED_FIELDS[resource.kind];
  if (supported === undefined) return [unsupportedKind(resource)];
  return [...unsupportedFields(resource, supported).map((found) => asGuard(resource, found)), ...unsupportedValues(resource)];
}

/** What was to keep something out is an error, and says what is done instead. */
function asGuard(resource: Resource, diagnostic: Diagnostic): Diagnostic {
  const pattern = patternOf(diagnostic.path ?? []);
  const consequence = GUARDING_FIELDS[resource.kind]?.[pattern];
  if (consequence === undefined) return diagnostic;
  return { ...diagnostic, severity: 'error', message: `${pattern} is not supported yet: ${consequence}` };
}

function patternOf(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (pattern, step) => (typeof step === 'number' ? `${pattern}[]` : pattern === '' ? step : `${pattern}.${step}`),
    '',
  );
}

function unsupportedKind(resource: Resource): Diagnostic {
  const isSecurity = SECURITY_KINDS.has(resource.kind) || isSecurityExtension(resource);
  const consequence = isSecurity ? 'requests that it should refuse are let through' : 'it has no effect';
  return report(resource, {
    code: 'unsupported-field',
    severity: isSecurity ? 'error' : 'warning',
    path: ['spec'],
    message: `${resource.kind} is not enforced by this version: ${consequence}`,
  });
}

/** A plugin that is to run among authentication or authorization. */
function isSecurityExtension({ spec }: Resource): boolean {
  return 'phase' in spec && (spec.phase === 'AUTHN' || spec.phase === 'AUTHZ');
}

function unsupportedValues(resource: Resource): Diagnostic[] {
  return (UNSUPPORTED_VALUES[resource.kind] ?? []).flatMap(({ path, values, consequence = 'it has no effect' }) =>
    valuesAt(resource, path)
      .filter(({ value }) => values.includes(String(value).toUpperCase()))
      .map((at) =>
        report(resource, {
          code: 'unsupported-field',
          severity: 'warning',
          path: at.path,
          message: `${path} ${String(at.value)} is not supported yet: ${consequence}`,
        }),
      ),
  );
}

/** Every value under a pattern such as `spec.servers[].tls.mode`. */
function valuesAt(resource: Resource, pattern: string): { path: (string | number)[]; value: unknown }[] {
  const steps = pattern.replaceAll('[]', '.[]').split('.');
  let here: { path: (string | number)[]; value: unknown }[] = [{ path: [], value: resource }];
  for (const step of steps) {
    here = here.flatMap(({ path, value }) => {
      if (step === '[]') return Array.isArray(value) ? value.map((item: unknown, index) => ({ path: [...path, index], value: item })) : [];
      const field = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[step] : undefined;
      return field === undefined ? [] : [{ path: [...path, step], value: field }];
    });
  }
  return here;
}
