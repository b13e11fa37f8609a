import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { IPTABLES_HELP } from '@mizzen/agent/capture';
import { caApp } from '@mizzen/ca';
import { controlPlaneApp } from '@mizzen/control-plane';
import { type App, describeSettings, type SettingsSchema } from '@mizzen/core';
import { ingressGatewayApp } from '@mizzen/ingress-gateway';
import { injectorApp } from '@mizzen/injector';
import { renderDeployFiles } from '@mizzen/manifests';
import { rateLimitApp } from '@mizzen/rate-limit';
import { sidecarApp } from '@mizzen/sidecar';
import { telemetryApp } from '@mizzen/telemetry-collector';
import { systemContext } from '../../apps/cli/src/commands/context.ts';
import { createProgram } from '../../apps/cli/src/program.ts';
import { proxyApp } from '../../apps/sidecar/src/proxy-app.ts';
import { filesBelow, readText, root } from './workspace.ts';

/** Reference pages and manifests that are made from the code: what is committed must be what the code says now. `--write` makes them anew. */
export function checkReference(): readonly string[] {
  const pages: readonly (readonly [file: string, text: string])[] = [
    ['docs/reference/processes.md', renderProcesses()],
    ['docs/reference/cli.md', renderCommands()],
    ...renderDeployFiles(),
  ];
  const stale = pages.flatMap(([file, text]) => {
    if (process.argv.includes('--write')) {
      mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      writeFileSync(path.join(root, file), text);
    }
    const isCurrent = existsSync(path.join(root, file)) && readText(file) === text;
    return isCurrent ? [] : [`${file} is not what the code says; \`npm run check -- --write\` makes it anew`];
  });
  return [...stale, ...orphans(new Set(pages.map(([file]) => file)))];
}

/** Files in folders that hold nothing but what is made, and that are not made any more. */
function orphans(made: ReadonlySet<string>): readonly string[] {
  return ['deploy/crds', 'deploy/kubernetes', 'deploy/helm']
    .flatMap((folder) => filesBelow(folder, ''))
    .filter((file) => !made.has(file))
    .map((file) => `${file} is made by nothing; delete it`);
}

const APPS: readonly Pick<App<SettingsSchema>, 'name' | 'summary' | 'schema'>[] = [
  controlPlaneApp,
  caApp,
  injectorApp,
  sidecarApp,
  ingressGatewayApp,
  proxyApp,
  telemetryApp,
  rateLimitApp,
];

function renderProcesses(): string {
  const sections = APPS.map(({ name, summary, schema }) =>
    section(`mizzen ${name}`, describeSettings(schema, { usage: `mizzen ${name} [flags]`, summary })),
  );
  return page('Processes', 'Every process of the mesh with its flags and variables, as `mizzen <process> --help` prints them.', [
    ...sections,
    section('mizzen iptables', IPTABLES_HELP),
  ]);
}

function renderCommands(): string {
  const processes = new Set([...APPS.map(({ name }) => name), 'iptables']);
  const program = createProgram(systemContext());
  // Not the width of whatever terminal the check runs in.
  const help = (command: typeof program): string => command.configureHelp({ helpWidth: 120 }).helpInformation();
  const sections = program.commands
    .filter((command) => !processes.has(command.name()))
    .flatMap((command) => [
      section(`mizzen ${command.name()}`, help(command)),
      ...command.commands.map((child) => section(`mizzen ${command.name()} ${child.name()}`, help(child))),
    ]);
  return page(
    'Commands',
    'Every command of `mizzen`, as `--help` prints it. Exit codes: 0 done, 1 failed, 64 wrong command line, 65 bad input.',
    [section('mizzen', help(program)), ...sections],
  );
}

function section(title: string, text: string): string {
  return `## ${title}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\`\n`;
}

function page(title: string, lead: string, sections: readonly string[]): string {
  return `# ${title}\n\nMade from the code by \`npm run check -- --write\`. ${lead}\n\n${sections.join('\n')}`;
}
