import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Diagnostic, EXIT, errorMessage, formatDiagnostic, MizzenError } from '@mizzen/core';
import { parseResource, parseYaml, type Resource, type YamlDocument } from '@mizzen/mesh-api';
import type { CommandContext } from './context.ts';
import { ExitWith } from './exit-with.ts';

/** One text, and what messages call it. */
export interface Source {
  readonly name: string;
  readonly text: string;
}

/**
 * Reads the resources of files, of directories (their YAML and JSON files, not their subdirectories) and of `-`, standard input.
 * Prints every diagnostic; where one is an error nothing is returned and the command ends with 65.
 */
export async function readResources(
  names: readonly string[],
  options: { namespace: string | undefined; context: CommandContext },
): Promise<Resource[]> {
  const { namespace, context } = options;
  const resources: Resource[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const source of await readSources(names, context)) {
    const yaml = parseYaml(source.text, source.name);
    diagnostics.push(...yaml.diagnostics);
    for (const document of yaml.documents) {
      const parsed = parseResource(withNamespace(document, namespace));
      diagnostics.push(...parsed.diagnostics, ...namespaceConflict(parsed.resource, namespace));
      if (parsed.resource) resources.push(parsed.resource);
    }
  }
  for (const diagnostic of diagnostics) context.message(formatDiagnostic(diagnostic));
  if (diagnostics.some(({ severity }) => severity === 'error')) throw new ExitWith(EXIT.badInput);
  return resources;
}

/** The texts of files, of directories (their YAML and JSON files, not their subdirectories) and of `-`, standard input. */
export async function readSources(names: readonly string[], context: CommandContext): Promise<Source[]> {
  const sources: Source[] = [];
  for (const name of names) {
    if (name === '-') sources.push({ name: 'standard input', text: await context.readStdin() });
    else sources.push(...filesOf(name).map((file) => ({ name: file, text: readText(file) })));
  }
  return sources;
}

function filesOf(name: string): string[] {
  const stats = statSync(name, { throwIfNoEntry: false });
  if (!stats) throw new MizzenError('MIZZEN_RESOURCE', `${name} does not exist`, { details: { isBadInput: true } });
  if (!stats.isDirectory()) return [name];
  const files = readdirSync(name).filter((file) => /\.(ya?ml|json)$/.test(file));
  return files.sort().map((file) => join(name, file));
}

/** A file that the command line names. Throws MIZZEN_RESOURCE. */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (thrown) {
    throw new MizzenError('MIZZEN_RESOURCE', `${file} cannot be read: ${errorMessage(thrown)}`, {
      cause: thrown,
      details: { isBadInput: true },
    });
  }
}

/** A document that names no namespace is given the one of the command line, as kubectl does. */
function withNamespace(document: YamlDocument, namespace: string | undefined): YamlDocument {
  const { value } = document;
  if (namespace === undefined || !isRecord(value) || !isRecord(value['metadata']) || value['metadata']['namespace'] !== undefined)
    return document;
  return { ...document, value: { ...value, metadata: { ...value['metadata'], namespace } } };
}

function namespaceConflict(resource: Resource | undefined, namespace: string | undefined): Diagnostic[] {
  if (!resource || namespace === undefined || resource.metadata.namespace === namespace) return [];
  const message = `the file says namespace ${resource.metadata.namespace} and the command line ${namespace}; say one of them`;
  return [
    {
      code: 'IST0106',
      severity: 'error',
      message,
      path: ['metadata', 'namespace'],
      ...(resource.position && { position: resource.position }),
    },
  ];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
