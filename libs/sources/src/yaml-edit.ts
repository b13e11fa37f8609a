import type { ResourceRef } from '@mizzen/core';
import { manifestOf, type Resource, refOf } from '@mizzen/mesh-api';
import { type Document, isMap, isSeq, parseAllDocuments, stringify, YAMLMap } from 'yaml';

/** The resource as one YAML document. */
export function toYaml(resource: Resource): string {
  return stringify(manifestOf(resource), { lineWidth: 0, aliasDuplicateObjects: false });
}

/** Writes the resource over the document that holds it, or behind the last one. Everything else stays as it is, comments included. */
export function replaceInText(text: string, resource: Resource): string {
  const place = locate(text, refOf(resource));
  if (!place) return `${endWithNewline(text)}---\n${toYaml(resource)}`;
  const { document, itemIndex } = place;
  if (itemIndex === undefined) return splice(text, document, toYaml(resource));
  document.setIn(['items', itemIndex], manifestOf(resource));
  return splice(text, document, String(document).replace(/^---\n/, ''));
}

/** The text without the resource. A document that held nothing else goes with it. */
export function removeFromText(text: string, ref: ResourceRef): string {
  const place = locate(text, ref);
  if (!place) return text;
  const { document, itemIndex } = place;
  if (itemIndex === undefined) return splice(text, document, undefined);
  document.deleteIn(['items', itemIndex]);
  const items = document.get('items');
  return splice(text, document, isSeq(items) && items.items.length === 0 ? undefined : String(document).replace(/^---\n/, ''));
}

function splice(text: string, document: Document.Parsed, replacement: string | undefined): string {
  const [start, , end] = document.range;
  const before = text.slice(0, start);
  const after = text.slice(end);
  if (replacement === undefined) {
    const rest = before + (before.trim() === '' ? after.replace(/^---\n/, '') : after);
    return rest.split('\n').every((line) => line.trim() === '' || line.startsWith('#') || line === '---' || line === '...') ? '' : rest;
  }
  const marker = text.slice(start, end).startsWith('---') ? '---\n' : '';
  return before + marker + endWithNewline(replacement) + after;
}

function endWithNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

// The first document that is this resource, valid or not.
function locate(text: string, ref: ResourceRef): { document: Document.Parsed; itemIndex?: number } | undefined {
  for (const document of parseAllDocuments(text, { logLevel: 'silent' })) {
    if (document.errors.length > 0 || !isMap(document.contents)) continue;
    if (isResource(document.contents, ref)) return { document };
    const items = document.get('items');
    if (!isSeq(items)) continue;
    const itemIndex = items.items.findIndex((item) => item instanceof YAMLMap && isResource(item, ref));
    if (itemIndex >= 0) return { document, itemIndex };
  }
  return undefined;
}

function isResource(map: YAMLMap, { kind, namespace, name }: ResourceRef): boolean {
  return (
    map.get('kind') === kind &&
    map.getIn(['metadata', 'name']) === name &&
    (map.getIn(['metadata', 'namespace']) ?? 'default') === namespace
  );
}
