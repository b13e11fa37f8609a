import { type Diagnostic, formatDiagnostic, type Logger } from '@mizzen/core';

/** Logs a diagnostic once when it appears and once when it is gone. */
export class DiagnosticLog {
  readonly #logger: Logger;
  #known = new Map<string, Diagnostic>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Takes the diagnostics that there are now, all of them. */
  update(diagnostics: readonly Diagnostic[]): void {
    const present = new Map(diagnostics.map((diagnostic) => [formatDiagnostic(diagnostic), diagnostic]));
    for (const [text, diagnostic] of present) {
      if (!this.#known.has(text)) this.#logger[levelOf(diagnostic)]({ diagnostic: fieldsOf(diagnostic) }, text);
    }
    for (const [text, diagnostic] of this.#known) {
      if (!present.has(text)) this.#logger.info({ diagnostic: fieldsOf(diagnostic) }, `resolved: ${text}`);
    }
    this.#known = present;
  }
}

function levelOf({ severity }: Diagnostic): 'error' | 'warn' | 'info' {
  return severity === 'warning' ? 'warn' : severity;
}

function fieldsOf({ code, severity, resource, path, position }: Diagnostic): Omit<Diagnostic, 'message'> {
  return { code, severity, ...(resource && { resource }), ...(path && { path }), ...(position && { position }) };
}
