import type { ProfileSummary } from './cpu-profile.ts';
import { type Cost, type ProxyBenchResult, type ScenarioResult, unitText } from './proxy-bench.ts';
import type { TranslationResult } from './translate-bench.ts';

/** Markdown, as it stands in docs/reference/performance.md: `npm run check` compares the document with the committed figures by these. */
export function proxyTable({ scenarios, knowsLargeMesh, routes }: ProxyBenchResult): string {
  const cpu = ({ cpuPerUnit, kernelPerUnit }: Cost): string => `${cpuPerUnit} (${kernelPerUnit})`;
  const row = ({ title, unit, goal, mizzen, envoy, ratio }: ScenarioResult): readonly string[] => [
    title,
    cpu(mizzen),
    cpu(envoy),
    unitText(unit),
    `**${ratio}**`,
    String(goal),
    `${mizzen.residentMiBAfterLoad} / ${envoy.residentMiBAfterLoad} MiB`,
  ];
  const { mizzenMiB, envoyMiB } = knowsLargeMesh;
  return `${table(
    ['scenario', 'Mizzen (in the kernel)', 'Envoy', 'unit', 'ratio', 'goal', 'resident after load'],
    Object.values(scenarios).map(row),
  )}
${table(
  ['beside it', 'Mizzen', 'Envoy', 'ratio', 'goal'],
  [
    [
      'resident with 1,000 clusters of 10 endpoints',
      `${mizzenMiB} MiB`,
      `${envoyMiB} MiB`,
      `**${knowsLargeMesh.ratio}**`,
      '0.55 and under 72 MB',
    ],
    ['the 1,000th route against the 10th', `${routes.thousandth} µs`, `${routes.tenth} µs (ours too)`, `**${routes.ratio}**`, '1.1'],
  ],
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
