import { KINDS } from '@mizzen/mesh-api';
import { revisionSuffix } from './revision.ts';

/** Names on which the installation and the injector agree. */
export const WEBHOOK = {
  injection: 'istio-sidecar-injector',
  validation: 'istio-validator-istio-system',
  service: 'mizzen-injector',
  injectPath: '/inject',
  validatePath: '/validate',
} as const;

export interface WebhookOptions {
  /** What namespaces and pods name by `istio.io/rev`. The revision `default` also serves `istio-injection: enabled`. */
  readonly revision: string;
  /** Of the injector's Service. */
  readonly namespace: string;
  /** A tag: another name for the revision, under which it is reached as well. */
  readonly tag?: string;
  readonly service?: string;
}

type KubernetesObject = Readonly<Record<string, unknown>> & {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
};

const REVISION = 'istio.io/rev';
const NAMESPACE_LABEL = 'istio-injection';
const POD_LABEL = 'sidecar.istio.io/inject';

const isIn = (key: string, ...values: string[]): object => ({ key, operator: 'In', values });
const isNotIn = (key: string, ...values: string[]): object => ({ key, operator: 'NotIn', values });
const isAbsent = (key: string): object => ({ key, operator: 'DoesNotExist' });

/**
 * The MutatingWebhookConfiguration of a revision, or of a tag for it. `failurePolicy: Fail`: a pod that is to have a sidecar does not start
 * without one. The injector fills in `caBundle`. Source: istio-discovery/templates/mutatingwebhook.yaml (1.32 dev).
 */
export function injectionWebhooks(options: WebhookOptions): KubernetesObject {
  const { revision, tag } = options;
  const reached = tag ?? revision;
  const isDefault = reached === 'default';
  const entries = [
    webhook('rev.namespace', [isIn(REVISION, reached), isAbsent(NAMESPACE_LABEL)], [isNotIn(POD_LABEL, 'false')]),
    webhook('rev.object', [isAbsent(REVISION), isAbsent(NAMESPACE_LABEL)], [isNotIn(POD_LABEL, 'false'), isIn(REVISION, reached)]),
    ...(isDefault
      ? [
          webhook('namespace', [isIn(NAMESPACE_LABEL, 'enabled')], [isNotIn(POD_LABEL, 'false')]),
          webhook('object', [isAbsent(NAMESPACE_LABEL), isAbsent(REVISION)], [isIn(POD_LABEL, 'true'), isAbsent(REVISION)]),
        ]
      : []),
  ];
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: nameOf(options), labels: labelsOf(options) },
    webhooks: entries.map((entry) => ({
      ...entry,
      clientConfig: clientConfigOf(options, WEBHOOK.injectPath),
      rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'], scope: 'Namespaced' }],
      failurePolicy: 'Fail',
      matchPolicy: 'Equivalent',
      reinvocationPolicy: 'Never',
      sideEffects: 'None',
      timeoutSeconds: 10,
      admissionReviewVersions: ['v1'],
    })),
  };
}

function webhook(name: string, namespaces: readonly object[], pods: readonly object[]): object {
  return {
    name: `${name}.sidecar-injector.istio.io`,
    namespaceSelector: { matchExpressions: namespaces },
    objectSelector: { matchExpressions: pods },
  };
}

function nameOf({ revision, tag }: WebhookOptions): string {
  if (tag !== undefined) return `istio-revision-tag-${tag}`;
  return `${WEBHOOK.injection}${revisionSuffix(revision)}`;
}

function labelsOf({ revision, tag }: WebhookOptions): Record<string, string> {
  return { app: 'sidecar-injector', [REVISION]: revision, ...(tag !== undefined && { 'istio.io/tag': tag }) };
}

/**
 * The ValidatingWebhookConfiguration of a revision. It starts with `failurePolicy: Ignore`; the injector makes it `Fail` once it has seen an
 * invalid resource refused, as istiod does. Source: istio-discovery/templates/validatingwebhookconfiguration.yaml (1.32 dev).
 */
export function validationWebhook(options: WebhookOptions): KubernetesObject {
  const { revision } = options;
  const groups = [...new Set(Object.values(KINDS).map(({ group }) => group))].sort();
  const entry = (name: string, resources: readonly object[]): object => ({
    name,
    objectSelector: { matchExpressions: resources },
    clientConfig: clientConfigOf(options, WEBHOOK.validatePath),
    rules: [{ apiGroups: groups, apiVersions: ['*'], operations: ['CREATE', 'UPDATE'], resources: ['*'], scope: '*' }],
    failurePolicy: 'Ignore',
    matchPolicy: 'Equivalent',
    sideEffects: 'None',
    timeoutSeconds: 10,
    admissionReviewVersions: ['v1'],
  });
  const byRevision = entry('rev.validation.istio.io', [isIn(REVISION, revision)]);
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: {
      name: revision === 'default' ? WEBHOOK.validation : `istio-validator-${revision}-${options.namespace}`,
      labels: { app: 'istiod', [REVISION]: revision },
    },
    // A resource without a revision is the default one's to judge.
    webhooks: revision === 'default' ? [byRevision, entry('validation.istio.io', [isAbsent(REVISION)])] : [byRevision],
  };
}

function clientConfigOf({ namespace, service = WEBHOOK.service }: WebhookOptions, path: string): object {
  return { service: { name: service, namespace, path, port: 443 } };
}
