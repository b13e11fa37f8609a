import { validationWebhook } from '@mizzen/injection';
import { stringify } from 'yaml';
import { renderCrds } from '../crds/crd.ts';
import type { KubeObject } from '../objects.ts';
import { type InstallationPart, renderParts } from '../render.ts';
import { type InstallValues, PROFILES, profileChanges, VERSION, valuesOf } from '../values.ts';
import { manifestYaml } from '../yaml.ts';
import { Expression, templateOf } from './template.ts';
import { markedValues } from './template-values.ts';
import { renderValuesFile, renderValuesSchema } from './values-file.ts';

/** The files of the Helm chart by their path in it, made from the same source as every other form of the installation. */
export function renderHelmChart(): ReadonlyMap<string, string> {
  const marked = markedValues();
  const parts = renderParts(marked).filter(({ name }) => name !== 'namespace' && name !== 'webhooks');
  return new Map([
    ['Chart.yaml', stringify(CHART)],
    ['values.yaml', renderValuesFile()],
    ['values.schema.json', renderValuesSchema()],
    ...PROFILES.map((profile) => [`profiles/${profile}.yaml`, renderProfile(profile)] as const),
    ['templates/_helpers.tpl', HELPERS],
    ['templates/NOTES.txt', NOTES],
    ...parts.map((part) => [`templates/${part.name}.yaml`, templateOfPart(part)] as const),
    ['templates/webhooks.yaml', templateOfWebhooks(marked)],
    ...renderCrds().map((crd) => [`crds/${crd.metadata.name}.yaml`, manifestYaml([crd])] as const),
  ]);
}

const CHART = {
  apiVersion: 'v2',
  name: 'mizzen',
  description: 'A service mesh that takes the configuration of Istio.',
  type: 'application',
  version: VERSION,
  appVersion: VERSION,
  kubeVersion: '>=1.29.0-0',
};

const VALIDATION = validationWebhook({ revision: 'default', namespace: '' }).metadata.name;

// Helm owns the namespace (--create-namespace), so templates name it by the release.
const HELPERS = `{{/* "-canary" for the revision canary, nothing for the default one. */}}
{{- define "mizzen.revisionSuffix" -}}
{{- if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end -}}
{{- end -}}

{{/* What the injector made of the failure policy of validation; Ignore before there is one. */}}
{{- define "mizzen.validationPolicy" -}}
{{- $name := ternary "${VALIDATION}" (printf "istio-validator-%s-%s" .Values.revision .Release.Namespace) (eq .Values.revision "default") }}
{{- $present := lookup "admissionregistration.k8s.io/v1" "ValidatingWebhookConfiguration" "" $name }}
{{- if $present }}{{ (first $present.webhooks).failurePolicy }}{{ else }}Ignore{{ end }}
{{- end -}}
`;

const NOTES = `The mesh is in {{ .Release.Namespace }}.

Take the pods of a namespace in, as they are made anew:
{{- if eq .Values.revision "default" }}
  kubectl label namespace default istio-injection=enabled
{{- else }}
  kubectl label namespace default istio.io/rev={{ .Values.revision }}
{{- end }}

Helm leaves the kinds (CRDs) as they are on upgrades and on uninstall: \`kubectl apply --server-side -k deploy/crds\` renews them.
`;

function renderProfile(profile: (typeof PROFILES)[number]): string {
  const changes = profileChanges(profile);
  return Object.keys(changes).length === 0
    ? `# The values of the chart as they are.\n{}\n`
    : stringify(changes, { aliasDuplicateObjects: false });
}

function templateOfPart({ switch: toggle, objects }: InstallationPart): string {
  const text = objects.map((object) => templateOfObject(withExpressions(object))).join('');
  return toggle === undefined ? text : `{{- if .Values.${toggle}.enabled }}\n${text}{{- end }}\n`;
}

function templateOfObject(object: KubeObject): string {
  const text = `---\n${templateOf(object)}`;
  return object.kind === 'NetworkPolicy' ? `{{- if .Values.networkPolicies.enabled }}\n${text}{{- end }}\n` : text;
}

/** Text that is YAML itself is made by Helm of the maps it has. */
const DATA: Readonly<Record<string, string>> = {
  mesh: 'toYaml (mustMergeOverwrite (dict "trustDomain" .Values.trustDomain "rootNamespace" .Release.Namespace "defaultConfig" (dict "discoveryAddress" (printf "istiod%s.%s.svc:15012" (include "mizzen.revisionSuffix" .) .Release.Namespace))) .Values.meshConfig)',
  meshNetworks: 'toYaml (dict "networks" .Values.meshNetworks)',
  values: `toYaml (mustMergeOverwrite (dict "hub" .Values.hub "tag" .Values.tag "imagePullPolicy" .Values.imagePullPolicy "revision" .Values.revision "clusterId" .Values.clusterId "caAddress" (printf "mizzen-ca.%s.svc:15013" .Release.Namespace) "telemetryAddress" (printf "mizzen-telemetry.%s.svc:4317" .Release.Namespace)) .Values.injection)`,
  templates: 'toYaml .Values.injectionTemplates',
};

function withExpressions(object: KubeObject): KubeObject {
  if (object.kind !== 'ConfigMap') return object;
  const data = object['data'] as Readonly<Record<string, string>>;
  return { ...object, data: Object.fromEntries(Object.keys(data).map((key) => [key, new Expression(DATA[key] as string)])) };
}

/** Their entries differ between the default revision and the others. */
function templateOfWebhooks(marked: InstallValues): string {
  const ofRevision = (revision: string): string => {
    const part = renderParts({ ...marked, revision }).find(({ name }) => name === 'webhooks');
    const text = (part?.objects ?? []).map(templateOfObject).join('');
    return text.replaceAll('failurePolicy: Ignore', 'failurePolicy: {{ include "mizzen.validationPolicy" . }}');
  };
  const isDefault = `eq .Values.revision "${valuesOf('default').revision}"`;
  return `{{- if .Values.injector.enabled }}\n{{- if ${isDefault} }}\n${ofRevision('default')}{{- else }}\n${ofRevision(marked.revision)}{{- end }}\n{{- end }}\n`;
}
