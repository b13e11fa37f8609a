import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import { filesBelow, type Project, projects, readText, root } from './workspace.ts';

const GRAPH_FILE = 'docs/reference/dependency-graph.json';

/** Any spec may use these without naming them in its package.json. */
const FOR_SPECS = new Set(['@jest/globals', 'fast-check', '@mizzen/testing']);

/** Only these layers do I/O; below them lie pure code and contracts. */
const PURE = ['libs/model', 'libs/translate', 'libs/matching'];
const IO_MODULES = ['net', 'tls', 'http', 'https', 'http2', 'dgram', 'fs', 'child_process', 'timers', 'worker_threads'];

/**
 * The layers of the design, enforced: who may import whom (by the tags in each package.json), npm packages only where they are declared,
 * no way into another project but its package name, no I/O in the pure layers, and no new edge in the project graph that a review has not seen.
 */
export function checkBoundaries(): readonly string[] {
  const all = projects();
  const byName = new Map(all.map((project) => [project.name, project]));
  return [...all.flatMap(checkTags), ...all.flatMap((project) => checkFiles(project, byName)), ...checkGraph()];
}

function checkTags(project: Project): readonly string[] {
  if (Number.isNaN(project.layer) || project.scope === '')
    return [`${project.folder}/package.json: needs the Nx tags layer:N and scope:NAME`];
  return [];
}

function checkFiles(project: Project, byName: ReadonlyMap<string, Project>): readonly string[] {
  return filesBelow(project.folder, '.ts').flatMap((file) => {
    // apps/bookinfo/* are projects of their own
    const isSpec = /\.spec\.ts$|\/testing(\/|\.ts$)/.test(file) || project.scope === 'test';
    return importsOf(withoutPureImports(readText(file))).flatMap((specifier) => {
      const problem = judgeImport({ project, byName, file, specifier, isSpec });
      return problem === undefined ? [] : [`${file}: ${problem}`];
    });
  });
}

/** `isIP` and BlockList look at text and open nothing. */
function withoutPureImports(text: string): string {
  return text.replaceAll(/^import \{ (?:(?:isIP(?:v[46])?|BlockList)(?:, )?)+ \} from 'node:net';$/gm, '');
}

function importsOf(text: string): readonly string[] {
  const statements = text.matchAll(
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm,
  );
  return [...statements].map((match) => (match[1] ?? match[2] ?? match[3]) as string);
}

interface Import {
  readonly project: Project;
  readonly byName: ReadonlyMap<string, Project>;
  readonly file: string;
  readonly specifier: string;
  readonly isSpec: boolean;
}

function judgeImport({ project, byName, file, specifier, isSpec }: Import): string | undefined {
  if (specifier.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    return target.startsWith(`${project.folder}/`) ? undefined : `imports ${specifier}, a file of another project; use the package's name`;
  }
  const bare = specifier.replace(/^node:/, '');
  if (specifier.startsWith('node:') || builtinModules.includes(bare)) {
    const isIo = IO_MODULES.includes(bare.split('/')[0] as string);
    return isIo && !isSpec && PURE.includes(project.folder) ? `imports ${specifier}, but ${project.folder} is pure` : undefined;
  }
  const packageName = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  if (isSpec && FOR_SPECS.has(packageName)) return undefined;
  if (packageName === project.name) return undefined;
  if (!project.dependencies.has(packageName)) return `imports ${packageName}, which ${project.folder}/package.json does not declare`;
  const target = byName.get(packageName);
  return target === undefined || isSpec ? undefined : judgeEdge(project, target);
}

function judgeEdge(from: Project, to: Project): string | undefined {
  if (to.layer >= from.layer) return `layer ${from.layer} (${from.name}) may not import layer ${to.layer} (${to.name})`;
  if (from.scope === 'test') return undefined;
  if (from.scope === 'sample' && to.scope === 'sample') return undefined;
  if (to.scope === 'test') return `${to.name} is for tests only`;
  if (from.scope === 'sample' || to.scope === 'sample')
    return `the samples know nothing of the mesh, and nothing imports them (${from.name} → ${to.name})`;
  const isAllowed = to.scope === 'shared' || from.scope === to.scope || from.scope === 'any';
  return isAllowed ? undefined : `the ${from.scope} side may not import the ${to.scope} side (${from.name} → ${to.name})`;
}

/** Nx's own graph against the committed one, so that a new edge between projects shows up in review. */
function checkGraph(): readonly string[] {
  const file = path.join(root, '.mizzen', 'graph.json');
  mkdirSync(path.dirname(file), { recursive: true });
  const env = { ...process.env, NX_DAEMON: 'false', NX_TUI: 'false', NX_CACHE_PROJECT_GRAPH: 'false' };
  const result = spawnSync(process.execPath, ['node_modules/nx/dist/bin/nx.js', 'graph', `--file=${file}`], {
    cwd: root,
    env,
    encoding: 'utf8',
  });
  if (result.status !== 0) return [`nx graph failed: ${result.stderr || result.stdout}`];
  const graph = JSON.parse(readFileSync(file, 'utf8')).graph;
  const edges: string[] = [];
  for (const dependencies of Object.values<readonly { source: string; target: string }[]>(graph.dependencies)) {
    for (const { source, target } of dependencies) if (!target.startsWith('npm:')) edges.push(`${source} -> ${target}`);
  }
  const present = [...new Set(edges)].sort();
  if (process.argv.includes('--write')) {
    writeFileSync(path.join(root, GRAPH_FILE), `${JSON.stringify(present, null, 2)}\n`);
    return [];
  }
  const known: readonly string[] = JSON.parse(readText(GRAPH_FILE));
  const added = present.filter((edge) => !known.includes(edge)).map((edge) => `${edge} is new`);
  const gone = known.filter((edge) => !present.includes(edge)).map((edge) => `${edge} is gone`);
  return [...added, ...gone].map((change) => `${GRAPH_FILE}: ${change}; \`npm run check -- --write\` records it`);
}
