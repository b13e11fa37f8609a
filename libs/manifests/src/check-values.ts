import { type Diagnostic, formatDiagnostic } from '@mizzen/core';
import { parseInjectorConfig } from '@mizzen/injection';
import { parseMeshConfig, suggest } from '@mizzen/mesh-api';
import { stringify } from 'yaml';
import { FREE_VALUES, isMap, PROFILES, type Profile, valuesOf, type Yaml } from './values.ts';

/** What is wrong with changes to the values, each with its path and what to do; empty where they can be used. */
export function checkValues(changes: Yaml): readonly string[] {
  const shape = valuesOf('default') as unknown as Yaml;
  const findings = checkAgainst(changes, shape, '');
  if (findings.length > 0) return findings;
  const meshConfig = changes['meshConfig'];
  return [...checkRevision(changes['revision']), ...(isMap(meshConfig) ? checkMeshConfig(meshConfig) : []), ...checkInjection(changes)];
}

export function isProfile(name: string): name is Profile {
  return (PROFILES as readonly string[]).includes(name);
}

function checkAgainst(changes: Yaml, shape: Yaml, path: string): readonly string[] {
  return Object.entries(changes).flatMap(([key, value]) => {
    const at = path === '' ? key : `${path}.${key}`;
    if (!(key in shape)) return [`${at} is not a value of an installation${didYouMean(key, Object.keys(shape))}`];
    const expected = shape[key];
    if (value === null) return [];
    if (typeName(value) !== typeName(expected)) return [`${at} must be ${typeName(expected)}, not ${typeName(value)}`];
    if (!isMap(value) || !isMap(expected) || FREE_VALUES.has(key)) return [];
    return checkAgainst(value, expected, at);
  });
}

function didYouMean(key: string, known: readonly string[]): string {
  const meant = suggest(key, known);
  return meant === undefined ? `; there are ${known.join(', ')}` : `; did you mean ${meant}?`;
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isMap(value)) return 'a map';
  return `a ${typeof value}`;
}

function checkRevision(revision: unknown): readonly string[] {
  if (typeof revision !== 'string' || /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/.test(revision)) return [];
  return [`revision "${revision}" becomes part of names: lower-case letters, digits and "-", at most 32 of them`];
}

function checkMeshConfig(meshConfig: Yaml): readonly string[] {
  const { diagnostics } = parseMeshConfig(stringify(meshConfig), 'meshConfig', { home: 'kubernetes' });
  return diagnostics.filter(({ severity }: Diagnostic) => severity === 'error').map(formatDiagnostic);
}

function checkInjection({ injection = {}, injectionTemplates = {} }: Yaml): readonly string[] {
  const { diagnostics } = parseInjectorConfig({ values: stringify(injection), templates: stringify(injectionTemplates) });
  return diagnostics.map((finding) => `injection: ${formatDiagnostic(finding)}`);
}
