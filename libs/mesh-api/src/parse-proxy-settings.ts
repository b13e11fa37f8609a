import type { Diagnostic } from '@mizzen/core';
import { type ProxySettingsInput, proxySettingsSchema } from './mesh-config/proxy-config.ts';
import { isRecord, withoutNulls } from './schema-shape.ts';
import { checkSchema } from './schema-validation.ts';
import { parseYaml } from './yaml.ts';

export interface ParsedProxySettings {
  /** Absent when a diagnostic of severity `error` was given. */
  readonly settings?: ProxySettingsInput;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads proxy settings as `meshConfig.defaultConfig` and the annotation `proxy.istio.io/config` hold them; nothing is defaulted.
 * An unknown field is a warning and has no effect, as in Istio. Never throws.
 */
export function parseProxySettings(text: string, file: string): ParsedProxySettings {
  const { documents, diagnostics } = parseYaml(text, file);
  const all: Diagnostic[] = [...diagnostics];
  const written = documents[0]?.value ?? {};
  const lineOf = (path: readonly (string | number)[]): number => documents[0]?.lineOf(path) ?? 1;
  if (documents.length > 1 || !isRecord(written)) {
    all.push({ code: 'IST0106', severity: 'error', message: 'the proxy settings must be one object', position: { file, line: 1 } });
    return { diagnostics: all };
  }
  const given = withoutNulls(written, proxySettingsSchema);
  for (const { code, path, message } of checkSchema(given, proxySettingsSchema)) {
    const severity = code === 'unknown-field' ? 'warning' : 'error';
    all.push({ code, severity, message, path, position: { file, line: lineOf(path) } });
  }
  if (all.some(({ severity }) => severity === 'error')) return { diagnostics: all };
  return { settings: given as ProxySettingsInput, diagnostics: all };
}
