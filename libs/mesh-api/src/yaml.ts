import { type Diagnostic, errorMessage } from '@mizzen/core';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments, type Node as YamlNode } from 'yaml';
import { isRecord } from './schema-shape.ts';

/** One document of a file, as plain values, with the line of each of its parts. */
export interface YamlDocument {
  readonly value: unknown;
  readonly file: string;
  /** Line of the document's first part, from 1. */
  readonly line: number;
  /** Line of the part at a path; the nearest known parent's where there is none. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
}

export interface ParsedYaml {
  readonly documents: readonly YamlDocument[];
  readonly diagnostics: readonly Diagnostic[];
}

const MAX_ALIASES = 100;
// What cannot be parsed costs the parser seconds and hundreds of megabytes for each megabyte: whoever reads waits meanwhile. Kubernetes
// stores no object above 1.5 MiB.
const MAX_TEXT_LENGTH = 4 * 1024 * 1024;
const MAX_DOCUMENT_LENGTH = 1024 * 1024;

/**
 * Reads a file of YAML or JSON: any number of documents. Empty documents are left out and lists (`kind: List`) are taken apart.
 * A document that is not valid YAML gives a diagnostic `yaml-syntax` and the others are still given. A text of more than 4 Mi characters,
 * or with a document of more than 1 Mi, is refused as a whole. Never throws.
 */
export function parseYaml(text: string, file: string): ParsedYaml {
  const tooLarge = findTooLarge(text);
  if (tooLarge) return { documents: [], diagnostics: [syntaxError(file, tooLarge.line, tooLarge.message)] };
  const lineCounter = new LineCounter();
  const diagnostics: Diagnostic[] = [];
  let parsed: readonly Document.Parsed[];
  try {
    parsed = [...parseAllDocuments(text, { lineCounter, prettyErrors: false, merge: true, logLevel: 'silent' })];
  } catch (thrown) {
    // The parser is recursive: nesting deeper than the stack ends here.
    return { documents: [], diagnostics: [syntaxError(file, 1, `cannot be read as YAML: ${errorMessage(thrown)}`)] };
  }
  const documents: YamlDocument[] = [];
  for (const document of parsed) {
    const [error] = document.errors;
    if (error) {
      // The first; what follows in the same document follows from it.
      diagnostics.push(syntaxError(file, lineCounter.linePos(error.pos[0]).line, error.message));
      continue;
    }
    try {
      const read = readDocument(document, lineCounter, file);
      if (read) documents.push(...takeListApart(read));
    } catch (thrown) {
      const line = lineCounter.linePos(document.contents?.range[0] ?? 0).line;
      diagnostics.push(syntaxError(file, line, `cannot be read as YAML: ${errorMessage(thrown)}`));
    }
  }
  return { documents, diagnostics };
}

function findTooLarge(text: string): { line: number; message: string } | undefined {
  if (text.length > MAX_TEXT_LENGTH) return { line: 1, message: 'the file is larger than 4 MiB; split it' };
  if (text.length <= MAX_DOCUMENT_LENGTH) return undefined;
  let begin = 0;
  // A line that begins with this is a document marker wherever it stands (YAML 1.2 §9.1.2).
  for (const end of [...text.matchAll(/^---/gm)].map(({ index }) => index).concat(text.length)) {
    if (end - begin > MAX_DOCUMENT_LENGTH)
      return { line: text.slice(0, begin).split('\n').length, message: 'the document that begins here is larger than 1 MiB; split it' };
    begin = end;
  }
  return undefined;
}

function syntaxError(file: string, line: number, message: string): Diagnostic {
  return { code: 'yaml-syntax', severity: 'error', message: message.replace(/\s+/g, ' '), position: { file, line: Math.max(line, 1) } };
}

function readDocument(document: Document.Parsed, lineCounter: LineCounter, file: string): YamlDocument | undefined {
  const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
  if (value === null || value === undefined) return undefined;
  const lines = new Map<string, number>();
  collectLines(document.contents, [], (path, offset) => lines.set(pathKey(path), lineCounter.linePos(offset).line));
  const line = lines.get('') ?? 1;
  const lineOf = (path: readonly (string | number)[]): number => {
    for (let length = path.length; length > 0; length--) {
      const known = lines.get(pathKey(path.slice(0, length)));
      if (known !== undefined) return known;
    }
    return line;
  };
  return { value, file, line, lineOf };
}

function pathKey(path: readonly (string | number)[]): string {
  return path.join('\0');
}

// The line of a field is its key's; of a list's item, the item's own.
function collectLines(
  node: YamlNode | null,
  path: readonly (string | number)[],
  add: (path: readonly (string | number)[], offset: number) => void,
): void {
  if (path.length === 0 && node?.range) add(path, node.range[0]);
  if (isMap(node)) {
    for (const { key, value } of node.items) {
      if (!isScalar(key)) continue;
      const inner = [...path, String(key.value)];
      if (key.range) add(inner, key.range[0]);
      if (isNode(value)) collectLines(value, inner, add);
    }
  } else if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) {
      if (!isNode(item)) continue;
      const inner = [...path, index];
      if (item.range) add(inner, item.range[0]);
      collectLines(item, inner, add);
    }
  }
}

// `kind: List` and `kind: VirtualServiceList`, as kubectl prints them.
function takeListApart(document: YamlDocument): readonly YamlDocument[] {
  const { value, file, lineOf } = document;
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !value['kind'].endsWith('List') || !Array.isArray(value['items']))
    return [document];
  return value['items'].map((item: unknown, index) => ({
    value: item,
    file,
    line: lineOf(['items', index]),
    lineOf: (path) => lineOf(['items', index, ...path]),
  }));
}
