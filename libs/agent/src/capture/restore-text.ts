import { CHAIN_PREFIX, type Rule, type Table } from './rule.ts';

/** What is left of an earlier run in one family: chains, and rules of the kernel's chains that jump to them. */
export interface Leftovers {
  readonly chains: readonly { readonly table: Table; readonly chain: string }[];
  readonly jumps: readonly Rule[];
}

const NO_LEFTOVERS: Leftovers = { chains: [], jumps: [] };

const TABLES: readonly Table[] = ['mangle', 'nat', 'raw'];

/** Reads `iptables-save`. Rules of chains that are not ours are ours where they jump to one of ours. */
export function findLeftovers(saved: string): Leftovers {
  const chains: { table: Table; chain: string }[] = [];
  const jumps: Rule[] = [];
  let table: Table | undefined;
  for (const line of saved.split('\n')) {
    if (line.startsWith('*')) table = TABLES.find((name) => line === `*${name}`);
    if (table === undefined) continue;
    const chain = /^:(\S+)/.exec(line)?.[1];
    if (chain?.startsWith(CHAIN_PREFIX)) chains.push({ table, chain });
    const [, from = '', match = ''] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (!from.startsWith(CHAIN_PREFIX) && match.includes(`-j ${CHAIN_PREFIX}`)) jumps.push({ table, chain: from, match });
  }
  return { chains, jumps };
}

/**
 * Input of `iptables-restore --noflush` that puts `rules` in the place of what is left, each table in one step, and leaves the rest alone.
 * Jumps from the kernel's chains are put first in them: Docker's DNS, for one, has its own rules in OUTPUT, and they must come later.
 */
export function restoreText(rules: readonly Rule[], leftovers: Leftovers = NO_LEFTOVERS): string {
  return TABLES.map((table) => tableText(table, { rules, leftovers })).join('');
}

function tableText(table: Table, { rules, leftovers }: { readonly rules: readonly Rule[]; readonly leftovers: Leftovers }): string {
  const own = rules.filter((rule) => rule.table === table);
  const wanted = new Set(own.map(({ chain }) => chain).filter(isOurs));
  const targets = own.map(({ match }) => /-j (\S+)$/.exec(match)?.[1] ?? '').filter(isOurs);
  for (const target of targets) wanted.add(target);
  const stale = leftovers.chains.filter((left) => left.table === table && !wanted.has(left.chain)).map(({ chain }) => chain);
  const jumps = leftovers.jumps.filter((jump) => jump.table === table);
  if (own.length + stale.length + jumps.length === 0) return '';
  const positions = new Map<string, number>();
  const lines = own.map(({ chain, match }) => {
    if (isOurs(chain)) return `-A ${chain} ${match}`;
    const position = (positions.get(chain) ?? 0) + 1;
    positions.set(chain, position);
    return `-I ${chain} ${position} ${match}`;
  });
  return [
    `*${table}`,
    // With --noflush, naming a chain makes it where it is not there, and empties it where it is.
    ...[...wanted, ...stale].map((chain) => `:${chain} - [0:0]`),
    ...jumps.map(({ chain, match }) => `-D ${chain} ${match}`),
    ...lines,
    ...stale.map((chain) => `-X ${chain}`),
    'COMMIT',
    '',
  ].join('\n');
}

function isOurs(chain: string): boolean {
  return chain.startsWith(CHAIN_PREFIX);
}
