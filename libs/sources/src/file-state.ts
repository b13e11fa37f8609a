import type { Diagnostic } from '@mizzen/core';
import { parseResource, parseYaml, type Resource, resourceKey } from '@mizzen/mesh-api';

/** What one file gives: its resources in force, which may be older than its text, and what is wrong with its text. */
export interface FileState {
  readonly resources: readonly Resource[];
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads the text of a file. Each valid document is in force. Where a document is invalid, the version of its resource that the file gave
 * before stays in force; where a document cannot even be recognised, so does everything that the file gave before and does not give now.
 */
export function readFileState(text: string, file: string, before: FileState | undefined): FileState {
  const { documents, diagnostics: syntaxErrors } = parseYaml(text, file);
  const diagnostics: Diagnostic[] = [...syntaxErrors];
  const resources: Resource[] = [];
  const refused = new Set<string>();
  const seen = new Map<string, Resource>();
  let hasUnrecognised = syntaxErrors.length > 0;

  for (const document of documents) {
    const parsed = parseResource(document);
    diagnostics.push(...parsed.diagnostics);
    const key = parsed.ref && resourceKey(parsed.ref);
    if (parsed.resource && key !== undefined) {
      const first = seen.get(key);
      if (first) diagnostics.push(duplicateOf(parsed.resource, first));
      else {
        seen.set(key, parsed.resource);
        resources.push(parsed.resource);
      }
    } else if (parsed.diagnostics.some(({ severity }) => severity === 'error')) {
      if (key === undefined) hasUnrecognised = true;
      else refused.add(key);
    }
  }
  for (const resource of before?.resources ?? []) {
    const key = keyOf(resource);
    if (!seen.has(key) && (hasUnrecognised || refused.has(key))) resources.push(resource);
  }
  return { resources, diagnostics };
}

export function duplicateOf(resource: Resource, first: Resource): Diagnostic {
  const { kind, metadata, position } = resource;
  const place = first.position ? `${first.position.file}:${first.position.line}` : 'another source';
  return {
    code: 'duplicate-resource',
    severity: 'error',
    message: `the same resource is already given at ${place}, which stays in force; remove one of them`,
    resource: { kind, namespace: metadata.namespace, name: metadata.name },
    ...(position && { position }),
  };
}

export function keyOf({ kind, metadata }: Resource): string {
  return resourceKey({ kind, namespace: metadata.namespace, name: metadata.name });
}
