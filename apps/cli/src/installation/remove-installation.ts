import { MizzenError } from '@mizzen/core';
import { TRUST_BUNDLE_CONFIG_MAP } from '@mizzen/identity';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeKind, type KubeObject } from '@mizzen/kube';
import { REVISION_LABEL } from '@mizzen/manifests';
import { KIND_NAMES, KINDS, kubeKindOf } from '@mizzen/mesh-api';
import { INSTALLED, TAG_LABEL } from './apply-installation.ts';
import { INSTALLED_KINDS, nameOf } from './kinds.ts';
import { type Patience, until } from './until.ts';
import { untilNamespaceGone } from './until-gone.ts';

export interface RemoveOptions extends Patience {
  readonly namespace: string;
  /** Only what belongs to this revision; undefined: all of them and what they share. */
  readonly revision: string | undefined;
  /** The kinds too, and with them every resource of the mesh that users made. */
  readonly purge: boolean;
  /** Told of each step. */
  readonly message: (line: string) => void;
}

// Made by the components while they run; nobody else has use for them.
const MADE_WHILE_RUNNING: readonly (readonly [kind: KubeKind, name: RegExp])[] = [
  [KINDS_OF_KUBERNETES.Lease, /^mizzen-(control-plane|injector)-leader(-.+)?$/],
  [KINDS_OF_KUBERNETES.Secret, /^(istio-ca-secret|mizzen-injector-webhook)$/],
];

/**
 * Takes an installation away: webhooks first, so that pods can be made again; then what writes objects by itself; then what was written.
 * The namespace goes when nothing of anybody else is left in it. Whatever is gone already is no error.
 */
export async function removeInstallation(client: KubeClient, options: RemoveOptions): Promise<void> {
  const { revision, message } = options;
  await removeTags(client, options);
  const labelSelector = revision === undefined ? INSTALLED : `${INSTALLED},${REVISION_LABEL}=${revision}`;
  for (const kind of INSTALLED_KINDS) {
    const objects = await client.list(kind, { labelSelector });
    for (const { metadata } of objects) await client.delete(kind, metadata, { propagation: 'Foreground' });
    if (objects.length > 0) message(`${objects.map(({ metadata }) => nameOf(kind.kind, metadata)).join(', ')} deleted`);
    // The controllers would restore what goes next.
    if (kind === KINDS_OF_KUBERNETES.Deployment) await untilGone(client, { kind, labelSelector }, options);
  }
  if (revision !== undefined) {
    await client.delete(KINDS_OF_KUBERNETES.Lease, { name: `mizzen-injector-leader-${revision}`, namespace: options.namespace });
    return;
  }
  await removeWhatWasWritten(client, options);
  if (options.purge) await removeKinds(client, options);
  await removeNamespace(client, options);
}

/** The webhooks of `mizzen tag set`: without an injector behind them no pod that names the tag could be made. */
async function removeTags(client: KubeClient, { revision, message }: RemoveOptions): Promise<void> {
  const kind = KINDS_OF_KUBERNETES.MutatingWebhookConfiguration;
  const labelSelector = `${TAG_LABEL},app.kubernetes.io/part-of=mizzen${revision === undefined ? '' : `,${REVISION_LABEL}=${revision}`}`;
  for (const { metadata } of await client.list(kind, { labelSelector })) {
    if (await client.delete(kind, metadata)) message(`${nameOf(kind.kind, metadata)} deleted`);
  }
}

async function removeWhatWasWritten(client: KubeClient, { namespace, message }: RemoveOptions): Promise<void> {
  for (const [kind, name] of MADE_WHILE_RUNNING) {
    const objects = (await client.list(kind, { namespace })).filter(({ metadata }) => name.test(metadata.name));
    for (const { metadata } of objects) {
      if (await client.delete(kind, metadata)) message(`${nameOf(kind.kind, metadata)} deleted`);
    }
  }
  const bundles = await client.list(KINDS_OF_KUBERNETES.ConfigMap, { fieldSelector: `metadata.name=${TRUST_BUNDLE_CONFIG_MAP}` });
  for (const { metadata } of bundles) await client.delete(KINDS_OF_KUBERNETES.ConfigMap, metadata);
  if (bundles.length > 0) message(`ConfigMap: ${TRUST_BUNDLE_CONFIG_MAP} deleted in ${bundles.length} namespaces`);
  await removeRegistered(client);
}

/** WorkloadEntries that the control plane made for agents outside the cluster. */
async function removeRegistered(client: KubeClient): Promise<void> {
  const kind = kubeKindOf('WorkloadEntry');
  const { group, plural } = KINDS.WorkloadEntry;
  if (!(await client.find(KINDS_OF_KUBERNETES.CustomResourceDefinition, { name: `${plural}.${group}` }))) return;
  for (const { metadata } of await client.list(kind)) {
    if (metadata.annotations?.['istio.io/autoRegistrationGroup'] !== undefined) await client.delete(kind, metadata);
  }
}

async function removeKinds(client: KubeClient, { message }: RemoveOptions): Promise<void> {
  let count = 0;
  for (const name of KIND_NAMES) {
    const { plural, group } = KINDS[name];
    if (await client.delete(KINDS_OF_KUBERNETES.CustomResourceDefinition, { name: `${plural}.${group}` })) count += 1;
  }
  if (count > 0) message(`CustomResourceDefinition: ${count} kinds deleted, and every resource of them`);
}

async function removeNamespace(client: KubeClient, options: RemoveOptions): Promise<void> {
  const { namespace, message } = options;
  const found = await client.find(KINDS_OF_KUBERNETES.Namespace, { name: namespace });
  if (found?.metadata.labels?.['app.kubernetes.io/managed-by'] !== 'mizzen') return;
  const others = await othersIn(client, namespace);
  if (others.length > 0) return message(`Namespace: ${namespace} stays, because others have objects in it: ${others.join(', ')}`);
  await client.delete(KINDS_OF_KUBERNETES.Namespace, { name: namespace });
  await untilNamespaceGone(client, namespace, options);
  message(`Namespace: ${namespace} deleted`);
}

const KINDS_OF_OTHERS = [
  'Pod',
  'Deployment',
  'StatefulSet',
  'DaemonSet',
  'Job',
  'CronJob',
  'Service',
  'Secret',
  'ConfigMap',
  'PersistentVolumeClaim',
  'Ingress',
] as const;

/** What is in the namespace and is neither ours nor Kubernetes' own. */
async function othersIn(client: KubeClient, namespace: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of KINDS_OF_OTHERS) {
    const kind = KINDS_OF_KUBERNETES[name];
    const objects = await client.list(kind, { namespace });
    found.push(...objects.filter((object) => !isOfKubernetes(object)).map(({ metadata }) => `${name} ${metadata.name}`));
  }
  return found;
}

function isOfKubernetes({ metadata }: KubeObject): boolean {
  const isOwned = (metadata.ownerReferences?.length ?? 0) > 0;
  return (
    isOwned || metadata.deletionTimestamp !== undefined || metadata.name === 'kube-root-ca.crt' || metadata.name === TRUST_BUNDLE_CONFIG_MAP
  );
}

async function untilGone(client: KubeClient, of: { kind: KubeKind; labelSelector: string }, patience: Patience): Promise<void> {
  const left = (): Promise<readonly KubeObject[]> => client.list(of.kind, { labelSelector: of.labelSelector });
  const tooLate = async (): Promise<MizzenError> => {
    const names = (await left()).map(({ metadata }) => nameOf(of.kind.kind, metadata));
    return new MizzenError('MIZZEN_KUBERNETES', `${names.join(', ')}: still there; \`kubectl describe\` says why`);
  };
  await until(async () => (await left()).length === 0, { ...patience, tooLate });
}
