import type { Diagnostic, DiagnosticCode, Severity } from '@mizzen/core';
import { type Resource, refOf } from '@mizzen/mesh-api';

/** A diagnostic on a field of a resource, with the line where it was written. */
export function report(
  resource: Resource,
  finding: { code: DiagnosticCode; severity: Severity; path: readonly (string | number)[]; message: string },
): Diagnostic {
  const { position, lineOf } = resource;
  return {
    ...finding,
    resource: refOf(resource),
    ...(position && { position: { file: position.file, line: lineOf?.(finding.path) ?? position.line } }),
  };
}
