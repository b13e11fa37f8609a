import { MizzenError } from '@mizzen/core';
import { injectionWebhooks, WEBHOOK } from '@mizzen/injection';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import { REVISION_LABEL } from '@mizzen/manifests';
import type { Command } from 'commander';
import { type ClusterFlags, withCluster } from '../access/connect-cluster.ts';
import { TAG_LABEL } from '../installation/apply-installation.ts';
import { formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import type { CommandContext, GlobalOptions } from './context.ts';

interface TagOptions extends GlobalOptions, ClusterFlags {
  readonly revision: string;
  readonly overwrite?: boolean;
  readonly istioNamespace: string;
}

interface Tag {
  readonly tag: string;
  readonly revision: string;
  readonly namespaces: readonly string[];
}

const { MutatingWebhookConfiguration, Namespace } = KINDS_OF_KUBERNETES;
const FIELD_MANAGER = 'mizzen-cli';

const HELP = `
A namespace or pod that names the tag (istio.io/rev=<tag>) gets the sidecar of the revision behind it. When the tag moves to another revision
what starts from then on follows: restart the workloads, and no label has to change.

Examples:
  mizzen install --profile revision --set revision=canary
  mizzen tag set prod --revision default
  kubectl label namespace shop istio.io/rev=prod
  mizzen tag set prod --revision canary --overwrite
  mizzen tag list
`;

export function addTagCommand(program: Command, context: CommandContext): void {
  const run = (command: Command, work: (client: KubeClient, options: TagOptions) => Promise<void>): Promise<void> => {
    const options = command.optsWithGlobals<TagOptions>();
    return withCluster(options, context, (client) => work(client, options));
  };
  const tag = program.command('tag').description('names for revisions of the mesh in a cluster').addHelpText('after', HELP);
  addClusterOptions(tag.command('set'))
    .argument('<tag>', 'name of the tag')
    .requiredOption('--revision <name>', 'the revision that it stands for')
    .option('--overwrite', 'move a tag that is there already')
    .description('let a tag stand for a revision')
    .action((name: string, _: unknown, command: Command) => run(command, (client, options) => setTag(client, name, { options, context })));
  addClusterOptions(tag.command('list'))
    .description('list the tags, the revision of each, and the namespaces that use it')
    .action((_: unknown, command: Command) => run(command, (client, options) => listTags(client, { options, context })));
  addClusterOptions(tag.command('remove'))
    .argument('<tag>', 'name of the tag')
    .description('remove a tag; pods of namespaces that still name it get no sidecar any more')
    .action((name: string, _: unknown, command: Command) => run(command, (client) => removeTag(client, name, context)));
}

function addClusterOptions(command: Command): Command {
  return command
    .option('--istioNamespace <name>', 'namespace of the mesh', 'istio-system')
    .option('--kubeconfig <file>', 'kubeconfig of the cluster')
    .option('--context <name>', 'context of the kubeconfig');
}

interface Asked {
  readonly options: TagOptions;
  readonly context: CommandContext;
}

async function setTag(client: KubeClient, tag: string, { options, context }: Asked): Promise<void> {
  const { revision, istioNamespace: namespace, overwrite } = options;
  if (!/^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$/.test(tag))
    throw new MizzenError('MIZZEN_SETTINGS', `"${tag}" cannot be a tag: lower-case letters, digits and "-" only, at most 50 characters`);
  const revisions = await client.list<Configuration>(MutatingWebhookConfiguration, { labelSelector: `${REVISION_LABEL},!${TAG_LABEL}` });
  const behind = revisions.find(({ metadata }) => metadata.labels?.[REVISION_LABEL] === revision);
  const known = revisions.map(({ metadata }) => metadata.labels?.[REVISION_LABEL]).join(', ');
  if (!behind) throw new MizzenError('MIZZEN_RESOURCE', `there is no revision ${revision} in the cluster; there are ${known || 'none'}`);
  if (revisions.some(({ metadata }) => metadata.labels?.[REVISION_LABEL] === tag))
    throw new MizzenError('MIZZEN_RESOURCE', `${tag} is the name of a revision; choose another tag`);
  const before = (await tagsOf(client)).find((entry) => entry.tag === tag);
  if (before && before.revision !== revision && !overwrite)
    throw new MizzenError('MIZZEN_RESOURCE', `the tag ${tag} stands for revision ${before.revision}; --overwrite moves it`);
  await client.apply(MutatingWebhookConfiguration, likeRevision(behind, { revision, namespace, tag }), {
    fieldManager: FIELD_MANAGER,
    force: true,
  });
  context.message(`tag ${tag} stands for revision ${revision}; namespaces use it by the label ${REVISION_LABEL}=${tag}`);
}

interface Configuration extends KubeObject {
  readonly webhooks?: readonly { readonly clientConfig?: { readonly service?: { readonly name: string }; readonly caBundle?: string } }[];
}

// The revision's own webhooks say where its injector is, and which CA to trust.
function likeRevision(behind: Configuration, about: { revision: string; namespace: string; tag: string }): Configuration {
  const { service, caBundle } = behind.webhooks?.[0]?.clientConfig ?? {};
  const configuration = injectionWebhooks({ ...about, service: service?.name ?? WEBHOOK.service }) as unknown as Configuration;
  const webhooks = (configuration.webhooks ?? []).map((webhook) => ({
    ...webhook,
    clientConfig: { ...webhook.clientConfig, ...(caBundle !== undefined && { caBundle }) },
  }));
  // Not the label of what is installed: a second `mizzen install` would take the tag away.
  const labels = { ...configuration.metadata.labels, 'app.kubernetes.io/part-of': 'mizzen' };
  return { ...configuration, metadata: { ...configuration.metadata, labels }, webhooks };
}

async function tagsOf(client: KubeClient): Promise<readonly Tag[]> {
  const tagged = await client.list(MutatingWebhookConfiguration, { labelSelector: TAG_LABEL });
  const namespaces = await client.list(Namespace);
  return tagged
    .map(({ metadata }) => {
      const tag = metadata.labels?.[TAG_LABEL] ?? '';
      const users = namespaces.filter((namespace) => namespace.metadata.labels?.[REVISION_LABEL] === tag);
      return { tag, revision: metadata.labels?.[REVISION_LABEL] ?? '', namespaces: users.map((user) => user.metadata.name).sort() };
    })
    .sort((a, b) => a.tag.localeCompare(b.tag));
}

async function listTags(client: KubeClient, { options, context }: Asked): Promise<void> {
  const tags = await tagsOf(client);
  const rows = tags.map(({ tag, revision, namespaces }) => [tag, revision, namespaces.join(', ') || '-']);
  context.print(formatOutput(options.output, tags, () => formatTable(['TAG', 'REVISION', 'NAMESPACES'], rows)));
}

async function removeTag(client: KubeClient, tag: string, context: CommandContext): Promise<void> {
  const found = (await tagsOf(client)).find((entry) => entry.tag === tag);
  if (!found) throw new MizzenError('MIZZEN_RESOURCE', `there is no tag ${tag}; \`mizzen tag list\` shows those there are`);
  await client.delete(MutatingWebhookConfiguration, { name: `istio-revision-tag-${tag}` });
  context.message(`tag ${tag} removed`);
  if (found.namespaces.length > 0)
    context.message(`still named by namespaces ${found.namespaces.join(', ')}: new pods there get no sidecar`);
}
