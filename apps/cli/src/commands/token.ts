import { errorMessage, parseDurationMs } from '@mizzen/core';
import { createJoinToken, ensureJoinTokenKey, formatSpiffeId } from '@mizzen/identity';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { createTokenIssuer, TOKEN_RENEWAL_MS, type TokenSubject } from '../local/join-tokens.ts';
import { formatOutput } from '../output/format.ts';
import { type CommandContext, type GlobalOptions, homeOf, stateOf } from './context.ts';
import { parseDuration } from './options.ts';

interface TokenOptions {
  readonly serviceAccount: string;
  readonly group?: string;
  readonly ttl: number;
  readonly trustDomain?: string;
}

const DEFAULT_TTL = '10m';

export function addTokenCommand(program: Command, context: CommandContext): void {
  const token = program.command('token').description('join tokens: what a new workload proves itself with to the CA');
  token
    .command('create')
    .description("make a join token, signed with the key of this home's CA. It is a secret, is good for one use, and expires soon.")
    .requiredOption('--service-account <name>', 'the identity: spiffe://<trust domain>/ns/<namespace>/sa/<name>')
    .option('--group <name>', 'bind the token to a WorkloadGroup')
    .addOption(
      new Option('--ttl <duration>', 'how long it is good for: 1s to 24h')
        .argParser(parseDuration)
        .default(parseDurationMs(DEFAULT_TTL), DEFAULT_TTL),
    )
    .option('--trust-domain <name>', 'trust domain of the mesh (default: that of the running mesh, else cluster.local)')
    .addHelpText('after', '\nExample:\n  mizzen token create -n default --service-account bookinfo-reviews > token\n')
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & TokenOptions>();
      const home = homeOf(options);
      const { privateKey } = await ensureJoinTokenKey(home.joinTokenKey);
      const spiffeId = formatSpiffeId({
        trustDomain: options.trustDomain ?? stateOf(home)?.trustDomain ?? 'cluster.local',
        namespace: options.namespace ?? 'default',
        serviceAccount: options.serviceAccount,
      });
      const text = await createJoinToken(privateKey, { spiffeId, group: options.group, ttlMs: options.ttl, now: context.clock.now() });
      const expiresAt = new Date(context.clock.now() + options.ttl).toISOString();
      context.print(formatOutput(options.output, { token: text, spiffeId, expiresAt }, () => `${text}\n`));
    });
  addKeepCommand(token, context);
}

interface KeepOptions {
  readonly directory: string;
  readonly trustDomain?: string;
}

function addKeepCommand(token: Command, context: CommandContext): void {
  token
    .command('keep')
    .argument('<workload...>', 'FILE=NAMESPACE/SERVICE_ACCOUNT each: the file below the directory, and the identity')
    .description('keep a fresh join token in a file for each of several workloads, until this command is ended')
    .requiredOption('--directory <dir>', 'where the files go; their folders have to be there')
    .option('--trust-domain <name>', 'trust domain of the mesh', 'cluster.local')
    .addHelpText('after', '\nExample:\n  mizzen token keep --directory /tokens reviews-v1/token=default/bookinfo-reviews\n')
    .action(async (workloads: string[], _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & KeepOptions>();
      const { joinTokenKey } = homeOf(options);
      const issuer = createTokenIssuer({ joinTokenKey, tokens: options.directory }, options.trustDomain ?? 'cluster.local');
      for (const subject of workloads.map(parseSubject)) await issuer.issue(subject);
      context.message(`keeping ${workloads.length} join tokens fresh in ${options.directory}`);
      const renewal = setInterval(
        () => void issuer.renewAll().catch((thrown: unknown) => context.message(errorMessage(thrown))),
        TOKEN_RENEWAL_MS,
      );
      await new Promise<void>((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
      });
      clearInterval(renewal);
      issuer.discardAll();
    });
}

function parseSubject(text: string): TokenSubject {
  const [, name, namespace, serviceAccount] = /^([^=]+)=([a-z0-9-]+)\/([a-z0-9.-]+)$/.exec(text) ?? [];
  if (name === undefined || namespace === undefined || serviceAccount === undefined)
    throw new InvalidArgumentError(`"${text}" must be FILE=NAMESPACE/SERVICE_ACCOUNT.`);
  return { name, namespace, serviceAccount };
}
