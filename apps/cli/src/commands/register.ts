import { MizzenError } from '@mizzen/core';
import { type Resource, refOf } from '@mizzen/mesh-api';
import { type ApplyResult, createResourceStore, type ResourceStore } from '@mizzen/sources';
import type { Command } from 'commander';
import { withCluster } from '../access/connect-cluster.ts';
import { createKubernetesStore } from '../access/kubernetes-store.ts';
import { addMeshOptions, type MeshOptions, meansKubernetes } from '../access/open-mesh.ts';
import {
  type ExternalEndpoint,
  entryName,
  parseAddress,
  parseServicePort,
  serviceEntryFor,
  withInlineEndpoint,
  withoutInlineEndpoint,
  workloadEntryFor,
} from '../joining/external-endpoint.ts';
import { readServiceSelector } from '../joining/service-selector.ts';
import { formatOutput } from '../output/format.ts';
import { collect } from './apply.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';
import { kubectlName } from './resource-names.ts';

interface RegisterOptions extends GlobalOptions, MeshOptions {
  readonly serviceAccount?: string;
  readonly labels: readonly string[];
}

/** Where services and endpoints are written. */
interface EndpointStore extends ResourceStore {
  /** Selector of the Kubernetes Service of the name, where there is one. */
  selectorOf(service: { namespace: string; name: string }): Promise<Readonly<Record<string, string>> | undefined>;
}

const HELP = `
A service that does not exist yet is made as a ServiceEntry <service>.<namespace>.svc.cluster.local. Where one exists (a ServiceEntry, or a
Kubernetes Service with a selector) the address becomes one more endpoint of it, as a WorkloadEntry; no port has to be given then.
The name of a port says its protocol (http:8080, mysql:3306); without a name it is TCP. \`mizzen deregister\` takes the address back.

Examples:
  mizzen register mysql 10.0.0.7 mysql:3306
  mizzen register reviews 10.0.0.8 http:9080 --labels version=v1 --service-account bookinfo-reviews
`;

export function addRegisterCommands(program: Command, context: CommandContext): void {
  const register = program
    .command('register')
    .argument('<service>', 'name of the service in its namespace')
    .argument('<address>', 'IP address of the endpoint')
    .argument('[port...]', 'PORT or NAME:PORT')
    .description('make a service and an endpoint for an address outside, or one more endpoint')
    .option('--service-account <name>', 'identity that the endpoint proves; it is called by mutual TLS then')
    .option('--labels <label=value>', 'of the endpoint, for subsets; repeatable', collect, []);
  addMeshOptions(register)
    .addHelpText('after', HELP)
    .action(async (service: string, address: string, ports: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<RegisterOptions>();
      const endpoint = endpointOf({ service, address, ports }, options);
      const results = await withStore(command, context, (store) => registerEndpoint(store, endpoint));
      printResults(results, options, context);
    });

  const deregister = program
    .command('deregister')
    .argument('<service>', 'name of the service in its namespace')
    .argument('<address>', 'IP address of the endpoint')
    .description('take an endpoint back that `mizzen register` made; the service stays');
  addMeshOptions(deregister).action(async (service: string, address: string, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<RegisterOptions>();
    const namespace = options.namespace ?? 'default';
    const results = await withStore(command, context, (store) => deregisterEndpoint(store, { service, namespace, address }));
    printResults(results, options, context);
  });
}

function endpointOf(
  given: { service: string; address: string; ports: readonly string[] },
  { namespace = 'default', serviceAccount, labels }: RegisterOptions,
): ExternalEndpoint {
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(given.service))
    throw new MizzenError(
      'MIZZEN_SETTINGS',
      `the service must be a name in its namespace (letters, digits, dashes), not "${given.service}"`,
    );
  return {
    service: given.service,
    namespace,
    address: parseAddress(given.address),
    ports: given.ports.map(parseServicePort),
    serviceAccount,
    labels: Object.fromEntries(labels.map(parseLabel)),
  };
}

async function registerEndpoint(store: EndpointStore, endpoint: ExternalEndpoint): Promise<readonly ApplyResult[]> {
  const { service, namespace, ports } = endpoint;
  const entry = await serviceEntryOf(store, endpoint);
  const selector = entry?.spec.workloadSelector?.labels ?? (entry ? undefined : await store.selectorOf({ namespace, name: service }));
  if (selector) return store.apply([workloadEntryFor(endpoint, selector)]);
  if (entry) return store.apply([withInlineEndpoint(entry, endpoint)]);
  if (ports.length === 0)
    throw new MizzenError(
      'MIZZEN_SETTINGS',
      `there is no service ${service} in namespace ${namespace} yet; say its ports, such as http:8080`,
    );
  return store.apply([serviceEntryFor(endpoint), workloadEntryFor(endpoint, { app: service })]);
}

async function serviceEntryOf(
  store: ResourceStore,
  { namespace, service }: { namespace: string; service: string },
): Promise<Resource<'ServiceEntry'> | undefined> {
  return (await store.get({ kind: 'ServiceEntry', namespace, name: service })) as Resource<'ServiceEntry'> | undefined;
}

interface Removed {
  readonly ref: ApplyResult['ref'];
  readonly result: string;
}

async function deregisterEndpoint(
  store: EndpointStore,
  { service, namespace, address }: { service: string; namespace: string; address: string },
): Promise<readonly Removed[]> {
  const ref = { kind: 'WorkloadEntry', namespace, name: entryName(service, address) };
  if (await store.delete(ref)) return [{ ref, result: 'deleted' }];
  const entry = await serviceEntryOf(store, { namespace, service });
  if (entry?.spec.endpoints?.some((endpoint) => endpoint.address === address)) {
    await store.apply([withoutInlineEndpoint(entry, address)]);
    return [{ ref: refOf(entry), result: 'configured' }];
  }
  throw new MizzenError('MIZZEN_RESOURCE', `${address} is no registered endpoint of ${service} in namespace ${namespace}`);
}

async function withStore<T>(command: Command, context: CommandContext, use: (store: EndpointStore) => Promise<T>): Promise<T> {
  const options = command.optsWithGlobals<RegisterOptions>();
  if (!meansKubernetes(command, context))
    return use({ ...createResourceStore({ directory: homeOf(options).config }), selectorOf: async () => undefined });
  return withCluster(options, context, (client) =>
    use({ ...createKubernetesStore(client), selectorOf: (service) => readServiceSelector(client, service) }),
  );
}

function printResults(results: readonly Removed[], options: RegisterOptions, context: CommandContext): void {
  const answer = results.map(({ ref, result }) => ({ ...ref, result }));
  context.print(formatOutput(options.output, answer, () => answer.map((one) => `${kubectlName(one)} ${one.result}\n`).join('')));
}

function parseLabel(pair: string): [string, string] {
  const [, name, value] = /^([^=]+)=(.*)$/.exec(pair) ?? [];
  if (name === undefined || value === undefined) throw new MizzenError('MIZZEN_SETTINGS', `--labels must be LABEL=VALUE, not "${pair}"`);
  return [name, value];
}
