/** Names one resource of the configuration. */
export interface ResourceRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export type Severity = 'error' | 'warning' | 'info';

/** Where a resource was written. `line` counts from 1. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
}

/**
 * One finding about one resource: the same object in a file's report, a resource's status, the log and the CLI.
 * `path` leads to the field, `['spec', 'http', 0, 'fault']`. `code` is stable and documented in docs/reference/diagnostics.md.
 */
export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly severity: Severity;
  readonly message: string;
  readonly resource?: ResourceRef;
  readonly path?: readonly (string | number)[];
  readonly position?: SourcePosition;
}

/** Every diagnostic that Mizzen gives, with its meaning. Codes that start with IST are Istio's own (istioctl analyze). */
export const DIAGNOSTIC_CODES = {
  'yaml-syntax': 'the file is not valid YAML',
  'unknown-kind': 'the apiVersion and kind are not among those that are served',
  IST0106: 'the resource does not fit its schema',
  'unknown-field': 'the field does not exist in this kind',
  'duplicate-resource': 'the same kind, namespace and name was already given; the first stays in force',
  'unsupported-field': 'the field is valid, but not translated yet; it has no effect',
  'no-effect': 'valid, but something else decides; the field or resource has no effect',
  IST0101: 'something that the resource refers to does not exist',
  IST0109: 'several VirtualServices for the mesh claim the same host; the oldest is in force',
  IST0130: 'a rule can never be reached',
  IST0145: 'two Gateways claim the same port and host',
  IST0149: 'a route asks for claims of a JWT that nothing verifies; it is left out',
  'port-mapped': 'a port below 1024 was mapped to one that the proxy may bind',
  'file-unreadable': 'a file of the configuration directory cannot be read',
  'xds-rejected': 'a proxy refused the configuration made from this resource',
} as const satisfies Record<string, string>;

export type DiagnosticCode = keyof typeof DIAGNOSTIC_CODES;

export function formatPath(path: readonly (string | number)[]): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('');
}

/** One line for people: `error file.yaml:12 VirtualService default/reviews spec.http[0]: message [code]`. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { severity, position, resource, path, message, code } = diagnostic;
  const parts: string[] = [severity];
  if (position) parts.push(`${position.file}:${position.line}`);
  if (resource) parts.push(formatResourceRef(resource));
  if (path && path.length > 0) parts.push(formatPath(path));
  return `${parts.join(' ')}: ${message} [${code}]`;
}

export function formatResourceRef(ref: ResourceRef): string {
  return `${ref.kind} ${ref.namespace}/${ref.name}`;
}
