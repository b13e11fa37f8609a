import { existsSync } from 'node:fs';
import path from 'node:path';
import { DIAGNOSTIC_CODES, ERROR_CODES } from '@mizzen/core';
import { profileTable, proxyTable, translationTable } from '../bench/tables.ts';
import { featuresDocument } from '../features/table.ts';
import { filesBelow, projects, readText, root } from './workspace.ts';

/** What documents say is held against the tree: links lead somewhere, files and symbols that they name exist, tables are complete. */
export function checkDocuments(): readonly string[] {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    ...filesBelow('docs', '.md'),
    ...filesBelow('apps', '.md'),
    ...filesBelow('libs', '.md'),
    ...filesBelow('deploy', '.md'),
  ];
  return [
    ...documents.flatMap(checkLinks),
    ...documents.flatMap(checkNamedFiles),
    ...checkTable('docs/reference/errors.md', Object.keys(ERROR_CODES)),
    ...checkTable('docs/reference/diagnostics.md', Object.keys(DIAGNOSTIC_CODES)),
    ...checkDependencies(),
    ...checkFigures(),
    ...checkFeatures(),
    ...projects()
      .filter(({ folder }) => !existsSync(path.join(root, folder, 'README.md')))
      .map(({ folder }) => `${folder}: needs a README.md`),
  ];
}

function checkLinks(document: string): readonly string[] {
  return [...readText(document).matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)]
    .map((match) => match[1] as string)
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => !existsSync(path.join(root, path.dirname(document), target)))
    .map((target) => `${document}: the link to ${target} is dead`);
}

/** `libs/x/src/y.ts` in back ticks must exist; `libs/x/src/y.ts#symbol` must also hold that word. */
function checkNamedFiles(document: string): readonly string[] {
  return [...readText(document).matchAll(/`((?:apps|libs|deploy|tools|docs)\/[\w./-]+)(?:#(\w+))?`/g)].flatMap(([, file, symbol]) => {
    if (!existsSync(path.join(root, file as string))) return [`${document}: ${file} does not exist`];
    if (symbol !== undefined && !new RegExp(`\\b${symbol}\\b`).test(readText(file as string)))
      return [`${document}: ${file} has no ${symbol}`];
    return [];
  });
}

function checkTable(document: string, codes: readonly string[]): readonly string[] {
  if (!existsSync(path.join(root, document))) return [`${document} is missing`];
  const listed = new Set([...readText(document).matchAll(/^\| `([\w-]+)` \|/gm)].map((match) => match[1] as string));
  return [
    ...codes.filter((code) => !listed.has(code)).map((code) => `${document}: ${code} is not described`),
    ...[...listed].filter((code) => !codes.includes(code)).map((code) => `${document}: ${code} does not exist in the code`),
  ];
}

/** The measured figures in the document are those that the benchmark wrote. */
function checkFigures(): readonly string[] {
  const document = 'docs/reference/performance.md';
  if (!existsSync(path.join(root, document))) return [`${document} is missing`];
  const text = readText(document);
  const tables: Readonly<Record<string, (result: never) => string>> = {
    proxy: proxyTable,
    profile: profileTable,
    translate: translationTable,
  };
  return Object.entries(tables).flatMap(([name, print]) => {
    const file = `docs/reference/bench/${name}.json`;
    if (!existsSync(path.join(root, file))) return [`${file} is missing; \`npm run bench -- ${name}\` writes it`];
    const lines = print(JSON.parse(readText(file)) as never).split('\n');
    return lines.filter((line) => !text.includes(line)).map((line) => `${document}: differs from ${file}; the line there is ${line}`);
  });
}

/** The table of xDS features is what its figures say. */
function checkFeatures(): readonly string[] {
  const [document, figures] = ['docs/reference/xds-features.md', 'docs/reference/xds-features.json'];
  if (!existsSync(path.join(root, document)) || !existsSync(path.join(root, figures)))
    return [`${document} is missing; \`npm run features\` writes it`];
  const isSame = readText(document) === featuresDocument(JSON.parse(readText(figures)));
  return isSame ? [] : [`${document}: differs from ${figures}; run \`npm run features\``];
}

/** Every dependency earns its place by a line. */
function checkDependencies(): readonly string[] {
  const document = 'docs/reference/dependencies.md';
  if (!existsSync(path.join(root, document))) return [`${document} is missing`];
  const manifest = JSON.parse(readText('package.json'));
  const used = new Set([
    ...Object.keys(manifest.devDependencies ?? {}),
    ...Object.keys(manifest.dependencies ?? {}),
    ...Object.keys(manifest.optionalDependencies ?? {}),
    ...projects().flatMap((project) => [...project.dependencies].filter((name) => !name.startsWith('@mizzen/'))),
  ]);
  const listed = new Set([...readText(document).matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] as string));
  return [
    ...[...used].filter((name) => !listed.has(name)).map((name) => `${document}: ${name} has no line`),
    ...[...listed].filter((name) => !used.has(name)).map((name) => `${document}: ${name} is not used any more`),
  ];
}
