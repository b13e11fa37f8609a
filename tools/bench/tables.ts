import type { ProfileSummary } from './cpu-profile.ts';
import type { PathResult, ProxyBenchResult, ProxyCost } from './proxy-bench.ts';
import type { TranslationResult } from './translate-bench.ts';

/** Markdown, as it stands in docs/reference/performance.md: `npm run check` compares the document with the committed figures by these. */
export function proxyTable({ http1, http1Tls, knowsLargeMesh }: ProxyBenchResult): string {
  const cpu = (cost: ProxyCost): string => `${cost.cpuMicrosecondsPerRequest} µs (${cost.kernelMicrosecondsPerRequest})`;
  const path = (name: string, { mizzen, envoy, ratio }: PathResult): readonly string[] => [
    name,
    cpu(mizzen),
    cpu(envoy),
    `**${ratio}**`,
    `${mizzen.residentMiBAfterLoad} / ${envoy.residentMiBAfterLoad} MiB`,
  ];
  return `${table(
    ['one hop', 'Mizzen: CPU per request (in the kernel)', 'Envoy', 'ratio', 'resident after load'],
    [path('HTTP/1.1', http1), path('HTTP/1.1, TLS from the client', http1Tls)],
  )}
${table(
  ['knows 1,000 clusters of 10 endpoints and 1,000 virtual hosts', 'Mizzen', 'Envoy', 'ratio'],
  [['resident', `${knowsLargeMesh.mizzenMiB} MiB`, `${knowsLargeMesh.envoyMiB} MiB`, `**${knowsLargeMesh.ratio}**`]],
)}`;
}

export function translationTable({ snapshot, coldClient, furtherClient, changedVirtualService }: TranslationResult): string {
  const row = (name: string, cost: { cpuMs: number; bytes?: number; resources?: number }): readonly string[] => [
    name,
    `${cost.cpuMs} ms`,
    cost.bytes === undefined ? '' : `${cost.bytes.toLocaleString('en')}`,
    cost.resources === undefined ? '' : `${cost.resources.toLocaleString('en')}`,
  ];
  return table(
    ['translation', 'CPU', 'bytes to the client', 'resources'],
    [
      row('parse and snapshot of the configuration', snapshot),
      row('first client', coldClient),
      row('each further client of the same kind', furtherClient),
      row('one VirtualService changed: snapshot and first client', changedVirtualService),
    ],
  );
}

export function profileTable({ areas, functions }: ProfileSummary): string {
  const line = ({ name, percent }: { name: string; percent: number }): readonly string[] => [name, `${percent} %`];
  return `${table(['time by area', 'share'], areas.map(line))}
${table(
  ['function, own time', 'share', 'area'],
  functions.map((entry) => [...line({ ...entry, name: `\`${entry.name}\`` }), entry.area]),
)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return `${line(head)}${line(head.map(() => '---'))}${rows.map(line).join('')}`;
}
