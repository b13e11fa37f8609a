import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Diagnostic, errorMessage, formatDiagnostic } from '@mizzen/core';
import { parseResource, parseYaml } from '@mizzen/mesh-api';
import type { Home } from '../home.ts';
import { colors } from '../output/colors.ts';
import type { Progress } from './progress.ts';

/**
 * Tells what is wrong in the configuration directory, one line each with file and line. It stops nothing: the control plane puts everything
 * that is valid into force, and reports the rest again on each resource.
 */
export function reportConfiguration(home: Home, progress: Progress): void {
  for (const diagnostic of checkDirectory(home.config)) {
    if (diagnostic.severity === 'error') progress.note(colors.yellow(`! ${formatDiagnostic(diagnostic)}`));
  }
}

/** What is wrong with documents that are no resource at all (no YAML, no kind that exists): no resource's status tells of these. */
export function documentErrors(directory: string): Diagnostic[] {
  return checkDirectory(directory).filter(({ severity, resource }) => severity === 'error' && resource === undefined);
}

/** The diagnostics of all YAML and JSON files of a directory tree, each file on its own. */
export function checkDirectory(directory: string): Diagnostic[] {
  return yamlFiles(directory).flatMap((file) => checkFile(join(directory, file)));
}

function yamlFiles(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(ya?ml|json)$/.test(file))
    .sort();
}

function checkFile(file: string): readonly Diagnostic[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (thrown) {
    return [{ code: 'file-unreadable', severity: 'error', message: errorMessage(thrown), position: { file, line: 1 } }];
  }
  const { documents, diagnostics } = parseYaml(text, file);
  return [...diagnostics, ...documents.flatMap((document) => parseResource(document).diagnostics)];
}
