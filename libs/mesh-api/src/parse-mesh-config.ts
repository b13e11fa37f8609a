import type { Diagnostic } from '@mizzen/core';
import { fillMeshConfig, type MeshConfig, type MeshConfigInput, meshConfigSchema } from './mesh-config/mesh-config.ts';
import { type MeshHome, unsupportedMeshFields } from './mesh-config/supported-fields.ts';
import { isRecord, withoutNulls } from './schema-shape.ts';
import { checkSchema } from './schema-validation.ts';
import { parseYaml } from './yaml.ts';

export interface ParsedMeshConfig {
  /** Absent when a diagnostic of severity `error` was given. An empty file gives the defaults. */
  readonly meshConfig?: MeshConfig;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads the mesh's configuration, written as the key `mesh` of Istio's ConfigMap is, and fills in the defaults.
 * An unknown field is a warning and has no effect, as in Istio; so is a known one that nothing reads yet. Anything else that does not
 * fit is an error. `home`: which fields something reads; default local. Never throws.
 */
export function parseMeshConfig(text: string, file: string, { home = 'local' }: { readonly home?: MeshHome } = {}): ParsedMeshConfig {
  const { documents, diagnostics } = parseYaml(text, file);
  const all: Diagnostic[] = [...diagnostics];
  const [document, second] = documents;
  if (second)
    all.push({
      code: 'IST0106',
      severity: 'error',
      message: 'the mesh configuration is one document; there is a second',
      position: { file, line: second.line },
    });
  const written = document?.value ?? {};
  if (!isRecord(written)) {
    all.push({
      code: 'IST0106',
      severity: 'error',
      message: 'the mesh configuration must be an object',
      position: { file, line: document?.line ?? 1 },
    });
    return { diagnostics: all };
  }
  const given = withoutNulls(written, meshConfigSchema);
  for (const { code, path, message } of checkSchema(given, meshConfigSchema)) {
    const severity = code === 'unknown-field' ? 'warning' : 'error';
    all.push({ code, severity, message, path, position: { file, line: document?.lineOf(path) ?? 1 } });
  }
  if (all.some(({ severity }) => severity === 'error')) return { diagnostics: all };
  for (const finding of unsupportedMeshFields(given as MeshConfigInput, home))
    all.push({ ...finding, position: { file, line: document?.lineOf(finding.path) ?? 1 } });
  return { meshConfig: fillMeshConfig(given as MeshConfigInput), diagnostics: all };
}
