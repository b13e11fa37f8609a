import { createRequire } from 'node:module';
import path from 'node:path';
import type { BuildOptions, BuildResult } from 'esbuild';
import { BUNDLE_OPTIONS, LOADED_LATER } from '../../apps/cli/src/launch/bundles.ts';
import { root } from '../check/workspace.ts';

/** One app as a module, and what it was made of. */
export interface AppBundle {
  readonly code: Uint8Array;
  /** Modules that it may import later, by their file names beside it. */
  readonly later?: Readonly<Record<string, Uint8Array>>;
  /** Files that are part of it, relative to the workspace's root. */
  readonly inputs: readonly string[];
}

type Build = (options: BuildOptions) => Promise<BuildResult>;

/** Bundles entries, all in one go; the same sources make the same bytes. By entry. */
export async function bundleEntries(entries: readonly string[]): Promise<ReadonlyMap<string, AppBundle>> {
  const { build } = createRequire(path.join(root, 'apps/cli/package.json'))('esbuild') as { build: Build };
  const laterEntry = LOADED_LATER.entry;
  const { outputFiles = [], metafile } = await build({
    ...BUNDLE_OPTIONS,
    absWorkingDir: root,
    entryPoints: [...entries, laterEntry].map((entry) => ({ in: entry, out: entry })),
    outdir: path.join(root, 'dist/bundles'),
    write: false,
    metafile: true,
    legalComments: 'none',
    logLevel: 'warning',
  });
  const made = Object.entries(metafile?.outputs ?? {}).map(([output, { entryPoint, inputs, imports }]) => {
    const file = outputFiles.find((each) => path.relative(root, each.path) === output);
    if (entryPoint === undefined || file === undefined) throw new Error(`esbuild made ${output}, which no entry asked for`);
    return { entryPoint, code: file.contents, inputs: Object.keys(inputs).filter((input) => !input.includes(':')), imports };
  });
  const later = made.find(({ entryPoint }) => entryPoint === laterEntry);
  if (later === undefined) throw new Error(`esbuild did not make ${laterEntry}`);
  const laterFile = `${LOADED_LATER.name}.mjs`;
  return new Map(
    made
      .filter((each) => each !== later)
      .map(({ entryPoint, code, inputs, imports }) => {
        const isNeeded = imports.some((each) => each.path === `./${laterFile}`);
        return [
          entryPoint,
          { code, inputs: isNeeded ? [...inputs, ...later.inputs] : inputs, ...(isNeeded && { later: { [laterFile]: later.code } }) },
        ];
      }),
  );
}
