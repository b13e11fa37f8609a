import { errorMessage, parseDurationMs } from '@mizzen/core';
import { createJoinToken, ensureJoinTokenKey, formatSpiffeId } from '@mizzen/identity';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatOutput } from '../output/format.ts';
import { type CommandContext, type GlobalOptions, homeOf, stateOf } from './context.ts';

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
        .argParser(parseTtl)
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
}

function parseTtl(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (thrown) {
    throw new InvalidArgumentError(`It ${errorMessage(thrown)}.`);
  }
}
