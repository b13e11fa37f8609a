import type { Diagnostic, DiagnosticCode, ResourceRef, Severity } from '@mizzen/core';
import { Type } from 'typebox';
import { fields, optional, textMap } from './kinds/schema.ts';
import { isKind, KIND_NAMES, KINDS, type Kind, type SpecOf } from './kinds.ts';
import type { Resource, ResourceMetadata } from './resource.ts';
import { isRecord, withoutNulls } from './schema-shape.ts';
import { checkSchema, type Finding, unknownField } from './schema-validation.ts';
import { suggest } from './suggest.ts';
import { validateSpec } from './validation/validate-spec.ts';
import type { YamlDocument } from './yaml.ts';

export interface ParsedResource {
  /** Absent when a diagnostic of severity `error` was given. */
  readonly resource?: Resource;
  /** What the document says it is, even where the rest of it is wrong: lets a caller keep the version it had before. */
  readonly ref?: ResourceRef;
  readonly diagnostics: readonly Diagnostic[];
}

const NEVER = '1970-01-01T00:00:00.000Z';
const TOP_FIELDS = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

const metadataSchema = fields({
  name: Type.String({ minLength: 1, maxLength: 253 }),
  namespace: optional(Type.String({ minLength: 1, maxLength: 63 })),
  labels: optional(textMap),
  annotations: optional(textMap),
  creationTimestamp: optional(Type.String()),
  generation: optional(Type.Integer()),
  // Written by the Kubernetes API server; accepted so that what `kubectl get -o yaml` prints can be used.
  generateName: optional(Type.Unknown()),
  uid: optional(Type.Unknown()),
  resourceVersion: optional(Type.Unknown()),
  managedFields: optional(Type.Unknown()),
  ownerReferences: optional(Type.Unknown()),
  finalizers: optional(Type.Unknown()),
  selfLink: optional(Type.Unknown()),
  deletionTimestamp: optional(Type.Unknown()),
  deletionGracePeriodSeconds: optional(Type.Unknown()),
});

/**
 * Turns one document into a resource: its kind and version are served, its schema fits (unknown fields are errors, as in Istio) and its
 * parts fit each other. Nothing is defaulted but the namespace (`default`). Never throws; everything that is wrong is a diagnostic.
 */
export function parseResource(document: YamlDocument): ParsedResource {
  const report = new Report(document);
  const { value } = document;
  if (!isRecord(value)) {
    report.add('IST0106', [], 'a document must be an object with apiVersion, kind, metadata and spec');
    return { diagnostics: report.diagnostics };
  }
  const kind = readKind(value, report);
  if (!kind) return { diagnostics: report.diagnostics };

  const metadata = readMetadata(value['metadata'], kind, report);
  for (const name of Object.keys(value)) if (!TOP_FIELDS.includes(name)) report.addFinding(unknownField(name, TOP_FIELDS, []));
  const spec = readSpec(value['spec'], kind, metadata, report);

  const ref = report.resource;
  if (report.hasErrors || !metadata || !spec || !ref) return { ...(ref && { ref }), diagnostics: report.diagnostics };
  const resource: Resource = {
    apiVersion: value['apiVersion'] as string,
    kind,
    metadata,
    spec,
    position: { file: document.file, line: document.line },
    lineOf: document.lineOf,
  };
  return { resource, ref, diagnostics: report.diagnostics };
}

class Report {
  readonly diagnostics: Diagnostic[] = [];
  readonly #document: YamlDocument;
  resource: ResourceRef | undefined;

  constructor(document: YamlDocument) {
    this.#document = document;
  }

  get hasErrors(): boolean {
    return this.diagnostics.some((diagnostic) => diagnostic.severity === 'error');
  }

  add(code: DiagnosticCode, path: readonly (string | number)[], message: string, severity: Severity = 'error'): void {
    const position = { file: this.#document.file, line: this.#document.lineOf(path) };
    this.diagnostics.push({ code, severity, message, path, position, ...(this.resource && { resource: this.resource }) });
  }

  addFinding({ code, path, message }: Finding, prefix: readonly (string | number)[] = []): void {
    this.add(code, [...prefix, ...path], message);
  }
}

function readKind(value: Readonly<Record<string, unknown>>, report: Report): Kind | undefined {
  const { apiVersion, kind } = value;
  if (typeof kind !== 'string' || kind === '')
    return void report.add('unknown-kind', ['kind'], '"kind" is required, such as VirtualService');
  if (typeof apiVersion !== 'string' || apiVersion === '') {
    return void report.add(
      'unknown-kind',
      ['apiVersion'],
      `"apiVersion" is required${isKind(kind) ? `, such as ${exampleVersion(kind)}` : ''}`,
    );
  }
  const [group, version] = apiVersion.includes('/') ? (apiVersion.split('/', 2) as [string, string]) : ['', apiVersion];
  const near = suggest(kind, KIND_NAMES);
  if (isForeignGroup(group) && !(group === '' && near)) {
    return void report.add(
      'unknown-kind',
      ['kind'],
      `${kind} of ${apiVersion} is not part of the mesh's configuration; it is left alone`,
      'info',
    );
  }
  if (isKind(kind)) {
    const info = KINDS[kind];
    if (group === info.group && info.versions.includes(version)) return kind;
    const served = info.versions.map((name) => `${info.group}/${name}`).join(', ');
    return void report.add('unknown-kind', ['apiVersion'], `${kind} has no apiVersion "${apiVersion}"; it is served as ${served}`);
  }
  return void report.add('unknown-kind', ['kind'], `there is no kind "${kind}" of ${apiVersion}${near ? `; did you mean ${near}?` : ''}`);
}

function exampleVersion(kind: Kind): string {
  return `${KINDS[kind].group}/${KINDS[kind].versions[0]}`;
}

const ISTIO_GROUPS = [...new Set(Object.values(KINDS).map(({ group }) => group))];

// Kubernetes' own, anybody else's, and Istio's installer's. (Gateway is a kind of the Kubernetes Gateway API too.)
// A misspelt group of Istio's is not foreign.
function isForeignGroup(group: string): boolean {
  return suggest(group, ISTIO_GROUPS, 2) === undefined;
}

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const NAMESPACE = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

function readMetadata(written: unknown, kind: Kind, report: Report): ResourceMetadata | undefined {
  const given = withoutNulls(written ?? {}, metadataSchema);
  const name = isRecord(given) && typeof given['name'] === 'string' ? given['name'] : '';
  const namespace = isRecord(given) && typeof given['namespace'] === 'string' ? given['namespace'] : 'default';
  if (name !== '') report.resource = { kind, namespace, name };
  const findings = checkSchema(given, metadataSchema);
  for (const finding of findings) report.addFinding(finding, ['metadata']);
  if (findings.length > 0) return undefined;

  if (!NAME.test(name))
    report.add(
      'IST0106',
      ['metadata', 'name'],
      `"${name}" is not a name: lower-case letters, digits, "-" and "." only, a letter or digit at both ends`,
    );
  if (!NAMESPACE.test(namespace))
    report.add(
      'IST0106',
      ['metadata', 'namespace'],
      `"${namespace}" is not a namespace: lower-case letters, digits and "-" only, a letter or digit at both ends`,
    );
  const {
    labels = {},
    annotations = {},
    creationTimestamp,
    generation,
  } = given as {
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    creationTimestamp?: string;
    generation?: number;
  };
  const created = creationTimestamp === undefined ? Number.NaN : Date.parse(creationTimestamp);
  return {
    name,
    namespace,
    labels,
    annotations,
    creationTimestamp: Number.isNaN(created) ? NEVER : new Date(created).toISOString(),
    generation: generation ?? 1,
  };
}

function readSpec<K extends Kind>(
  written: unknown,
  kind: K,
  metadata: ResourceMetadata | undefined,
  report: Report,
): SpecOf<K> | undefined {
  const { schema } = KINDS[kind];
  const given = withoutNulls(written ?? {}, schema);
  const findings = checkSchema(given, schema);
  for (const finding of findings) report.addFinding(finding, ['spec']);
  if (findings.length > 0) return undefined;
  const spec = given as SpecOf<K>;
  validateSpec(kind, spec, {
    namespace: metadata?.namespace ?? 'default',
    error: (path, message) => report.add('IST0106', ['spec', ...path], message),
    warn: (path, message) => report.add('IST0106', ['spec', ...path], message, 'warning'),
  });
  return spec;
}

/** Whether the document itself said when it was created; if not, that is its source's to say. */
export function hasOwnTimestamp(resource: Resource): boolean {
  return resource.metadata.creationTimestamp !== NEVER;
}
