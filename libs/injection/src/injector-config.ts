import type { Diagnostic } from '@mizzen/core';
import { parseYaml, suggest } from '@mizzen/mesh-api';
import { type CustomTemplate, parseCustomTemplates } from './custom-template.ts';
import type { LabelSelector } from './label-selector.ts';

/** What the injector is told by whoever installed it: the ConfigMap `mizzen-injector`. */
export interface InjectorConfig {
  readonly values: InjectorValues;
  /** By name. Those of the mesh itself, `sidecar` and `gateway`, are code and cannot be replaced. */
  readonly templates: ReadonlyMap<string, CustomTemplate>;
}

/** The key `values`. Every field has a default; see `DEFAULT_VALUES`. */
export interface InjectorValues {
  /** Images are `<hub>/sidecar:<tag>` and `<hub>/ingress-gateway:<tag>`. */
  readonly hub: string;
  readonly tag: string;
  /** '' leaves it to Kubernetes. */
  readonly imagePullPolicy: string;
  readonly imagePullSecrets: readonly string[];
  readonly revision: string;
  /** What is done with a pod whose labels and annotations say nothing. */
  readonly policy: 'enabled' | 'disabled';
  readonly defaultTemplates: readonly string[];
  readonly neverInjectSelector: readonly LabelSelector[];
  readonly alwaysInjectSelector: readonly LabelSelector[];
  /** Added to every injected pod. */
  readonly injectedAnnotations: Readonly<Record<string, string>>;
  /** `auto`: where every kubelet has them for good (Kubernetes 1.33). */
  readonly nativeSidecars: 'auto' | 'true' | 'false';
  readonly rewriteAppHttpProbes: boolean;
  /**
   * Programs without a preStop hook live on for so long after their pod was deleted, so that nobody is refused who has not learnt of it.
   * Unit: s; 0 leaves them alone. Only with native sidecars.
   */
  readonly programStopDelaySeconds: number;
  readonly clusterId: string;
  readonly caAddress: string;
  /** '' sends no telemetry. */
  readonly telemetryAddress: string;
  /** A proxy's own settings, those that ProxyConfig does not hold. */
  readonly proxy: ProxyValues;
  /** Whatever custom templates want: `${values.custom.NAME}`. */
  readonly custom: Readonly<Record<string, unknown>>;
}

export interface ProxyValues {
  readonly logLevel: string;
  readonly resources: Readonly<Record<string, unknown>>;
  readonly includeIPRanges: string;
  readonly excludeIPRanges: string;
  readonly includeInboundPorts: string;
  readonly excludeInboundPorts: string;
  readonly includeOutboundPorts: string;
  readonly excludeOutboundPorts: string;
  readonly readinessInitialDelaySeconds: number;
  readonly readinessPeriodSeconds: number;
  readonly readinessFailureThreshold: number;
  readonly startupFailureThreshold: number;
  /** Whether programs resolve names through their sidecar; per pod by the proxy metadata ISTIO_META_DNS_CAPTURE. */
  readonly dnsCapture: boolean;
}

/** Istio's defaults where it has them. Source: istio manifests/charts/istio-control/istio-discovery/values.yaml (1.32 dev). */
export const DEFAULT_VALUES: InjectorValues = {
  hub: 'mizzen',
  tag: '0.1.0',
  imagePullPolicy: '',
  imagePullSecrets: [],
  revision: 'default',
  policy: 'enabled',
  defaultTemplates: ['sidecar'],
  neverInjectSelector: [],
  alwaysInjectSelector: [],
  injectedAnnotations: {},
  nativeSidecars: 'auto',
  rewriteAppHttpProbes: true,
  programStopDelaySeconds: 5,
  clusterId: 'Kubernetes',
  caAddress: 'mizzen-ca.istio-system.svc:15013',
  telemetryAddress: 'mizzen-telemetry.istio-system.svc:4317',
  proxy: {
    logLevel: 'warn',
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { cpu: '2000m', memory: '1024Mi' } },
    includeIPRanges: '*',
    excludeIPRanges: '',
    includeInboundPorts: '*',
    excludeInboundPorts: '',
    includeOutboundPorts: '',
    excludeOutboundPorts: '',
    readinessInitialDelaySeconds: 0,
    readinessPeriodSeconds: 15,
    readinessFailureThreshold: 4,
    startupFailureThreshold: 600,
    dnsCapture: false,
  },
  custom: {},
};

export const DEFAULT_INJECTOR_CONFIG: InjectorConfig = { values: DEFAULT_VALUES, templates: new Map() };

/**
 * Reads the two keys of the ConfigMap, each of which may be absent. What is left out is the default's; an unknown field is a warning.
 * Never throws; with a diagnostic of severity `error` there is no config, and who has an older one keeps it.
 */
export function parseInjectorConfig(data: { readonly values?: string | undefined; readonly templates?: string | undefined }): {
  readonly config?: InjectorConfig;
  readonly diagnostics: readonly Diagnostic[];
} {
  const diagnostics: Diagnostic[] = [];
  const written = readObject(data.values ?? '', 'values', diagnostics);
  const filled = fill(DEFAULT_VALUES, written, { path: [], diagnostics }) as unknown as InjectorValues;
  // YAML makes a boolean of `nativeSidecars: true`.
  const values: InjectorValues = { ...filled, nativeSidecars: String(filled.nativeSidecars) as InjectorValues['nativeSidecars'] };
  checkChoices(values, diagnostics);
  const templates = parseCustomTemplates(readObject(data.templates ?? '', 'templates', diagnostics), diagnostics);
  if (diagnostics.some(({ severity }) => severity === 'error')) return { diagnostics };
  return { config: { values, templates }, diagnostics };
}

function readObject(text: string, file: string, diagnostics: Diagnostic[]): Readonly<Record<string, unknown>> {
  const parsed = parseYaml(text, file);
  diagnostics.push(...parsed.diagnostics);
  const value = parsed.documents[0]?.value ?? {};
  if (isRecord(value) && parsed.documents.length < 2) return value;
  diagnostics.push({ code: 'IST0106', severity: 'error', message: `"${file}" must be one object`, position: { file, line: 1 } });
  return {};
}

// Fields whose content is the user's own: anything fits.
const OPEN = ['resources', 'custom', 'injectedAnnotations'];

interface Place {
  readonly path: readonly string[];
  readonly diagnostics: Diagnostic[];
}

function fill(defaults: object, written: Readonly<Record<string, unknown>>, { path, diagnostics }: Place): Record<string, unknown> {
  const filled: Record<string, unknown> = { ...defaults };
  for (const [name, value] of Object.entries(written)) {
    const fallback = (defaults as Record<string, unknown>)[name];
    const at = { path: [...path, name], diagnostics };
    if (fallback === undefined) {
      const near = suggest(name, Object.keys(defaults));
      const message = `the injector has no value "${at.path.join('.')}"${near ? `; did you mean "${near}"?` : ''}`;
      diagnostics.push({ code: 'unknown-field', severity: 'warning', message, path: at.path });
    } else if (value === null) continue;
    else if (!isSameType(fallback, value)) {
      const message = `"${at.path.join('.')}" must be ${typeName(fallback)}, but is ${typeName(value)}`;
      diagnostics.push({ code: 'IST0106', severity: 'error', message, path: at.path });
    } else filled[name] = isRecord(fallback) && isRecord(value) && !OPEN.includes(name) ? fill(fallback, value, at) : value;
  }
  return filled;
}

function isSameType(fallback: unknown, value: unknown): boolean {
  return typeName(fallback) === typeName(value) || (fallback === 'auto' && typeof value === 'boolean');
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return value === null ? 'null' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function checkChoices(values: InjectorValues, diagnostics: Diagnostic[]): void {
  const choices: readonly (readonly [string, unknown, readonly string[]])[] = [
    ['policy', values.policy, ['enabled', 'disabled']],
    ['nativeSidecars', values.nativeSidecars, ['auto', 'true', 'false']],
    ['imagePullPolicy', values.imagePullPolicy, ['', 'Always', 'IfNotPresent', 'Never']],
  ];
  for (const [name, value, allowed] of choices) {
    if (allowed.includes(value as string)) continue;
    const message = `"${name}" must be one of ${allowed.filter((choice) => choice !== '').join(', ')}, but is "${String(value)}"`;
    diagnostics.push({ code: 'IST0106', severity: 'error', message, path: [name] });
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
