import type { KubeObject } from '../contract.ts';
import { isJsonObject, type Json } from './json.ts';

/** Whether an object fits `labelSelector` and `fieldSelector` of a query. Source: kubernetes.io, Labels and Selectors. */
export function fitsSelectors(object: KubeObject, query: URLSearchParams): boolean {
  const labels = object.metadata.labels ?? {};
  return (
    splitRequirements(query.get('labelSelector') ?? '').every((requirement) => fitsLabel(labels, requirement)) &&
    splitRequirements(query.get('fieldSelector') ?? '').every((requirement) => fitsField(object, requirement))
  );
}

// Commas inside of parentheses belong to a list of values.
function splitRequirements(text: string): string[] {
  return text.split(/,(?![^()]*\))/).filter((part) => part.trim() !== '');
}

function fitsLabel(labels: Readonly<Record<string, string>>, requirement: string): boolean {
  const list = /^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$/.exec(requirement);
  if (list) {
    const values = (list[3] ?? '').split(',').map((value) => value.trim());
    return values.includes(labels[list[1] ?? ''] ?? '') === (list[2] === 'in');
  }
  const unequal = /^\s*([^=!\s]+)\s*!=\s*(\S*)\s*$/.exec(requirement);
  if (unequal) return labels[unequal[1] ?? ''] !== unequal[2];
  const equal = /^\s*([^=!\s]+)\s*==?\s*(\S*)\s*$/.exec(requirement);
  if (equal) return labels[equal[1] ?? ''] === equal[2];
  const name = requirement.trim();
  return name.startsWith('!') ? !(name.slice(1) in labels) : name in labels;
}

function fitsField(object: KubeObject, requirement: string): boolean {
  const match = /^([^=!]+)(!?=)=?(.*)$/.exec(requirement);
  if (!match) return false;
  const path = (match[1] ?? '').split('.');
  const value = path.reduce<Json | undefined>((at, key) => (isJsonObject(at) ? at[key] : undefined), object as unknown as Json);
  return (String(value ?? '') === match[3]) === (match[2] === '=');
}
