import type { Feature } from './probe.ts';

const WORDS: Readonly<Record<Feature['status'], string>> = { compared: 'compared', taken: 'taken', refused: 'refused by name' };

/** docs/reference/xds-features.md. */
export function featuresDocument(features: readonly Feature[]): string {
  const messages = Map.groupBy(features, ({ field }) => field.slice(0, field.lastIndexOf('.')));
  const count = (status: Feature['status']): number => features.filter((feature) => feature.status === status).length;
  const sections = [...messages].map(([message, fields]) => {
    const rows = fields.map(({ field, status, comparedIn }) => {
      const name = field.slice(field.lastIndexOf('.') + 1);
      return `| \`${name}\` | ${WORDS[status]} | ${comparedIn.map((spec) => `\`${spec}\``).join(', ')} |\n`;
    });
    return `## ${message}\n\n| field | our proxy | compared with Envoy 1.40 in |\n| --- | --- | --- |\n${rows.join('')}`;
  });
  return `# xDS features

Made by \`npm run features\`; do not edit. Every field, deprecated ones aside, of every message that a comparison with Envoy 1.40 uses:
**compared** (${count('compared')}): the bootstrap of a comparison has it, the same traffic went through both proxies; **taken** (${count('taken')}): our proxy
takes a resource that has it, and no comparison has it yet; **refused by name** (${count('refused')}): the resource is NACKed with the field's path.

The comparisons are specs of \`apps/e2e/src\`; they run with \`npm test\` where Envoy is installed.

${sections.join('\n')}`;
}
