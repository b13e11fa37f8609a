export { backoffMs, type Clock, delay, type Random, systemClock, type Timer } from './clock.ts';
export {
  DIAGNOSTIC_CODES,
  type Diagnostic,
  type DiagnosticCode,
  formatDiagnostic,
  formatPath,
  formatResourceRef,
  type ResourceRef,
  type Severity,
  type SourcePosition,
} from './diagnostics.ts';
export { assertNever, ERROR_CODES, type ErrorCode, errorCode, errorMessage, InvariantError, isMizzenError, MizzenError } from './errors.ts';
export { ipv6Bytes, ipv6Text } from './ipv6.ts';
export { type App, CloseStack, EXIT, type Running, runApp } from './lifecycle.ts';
export { createLogger, LOG_LEVELS, type Logger, type LogLevel, silentLogger } from './logging.ts';
export { joinHostPort, listenError, splitHostPort } from './net.ts';
export { Secret } from './secret.ts';
export {
  describeSettings,
  parseDurationMs,
  readSettings,
  type Setting,
  type SettingsOf,
  type SettingsSchema,
  settings,
} from './settings.ts';
export { Watchable } from './watchable.ts';
