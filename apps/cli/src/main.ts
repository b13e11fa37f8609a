// The first module on Node 24. It imports next to nothing, since for an app it is only there until the app's own process image replaces it.
import { enableCompileCache } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { APPS } from './launch/apps.ts';
import { ensureBundles } from './launch/bundles.ts';
import { commandLineOf } from './launch/command-line.ts';
import { replaceProcess } from './launch/replace-process.ts';

const argv = process.argv.slice(2);
const isDev = argv[0] === '--dev' || process.env['MIZZEN_DEV'] === '1';
const [command = '', ...rest] = argv[0] === '--dev' ? argv.slice(1) : argv;
/** Commands that stay: they leave what was only needed to get here (the compiler of TypeScript, esbuild) behind too. */
const STAYING = ['up', 'run', 'logs'];
const workspace = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');

try {
  const bundles = isDev ? undefined : await ensureBundles(workspace);
  const isApp = APPS.some(({ name }) => name === command);
  const line = commandLineOf(isApp ? command : 'cli', workspace, bundles);
  const env: NodeJS.ProcessEnv = { ...process.env, ...line.env, MIZZEN_WORKSPACE: workspace, ...(isDev && { MIZZEN_DEV: '1' }) };
  if (isApp || (bundles && STAYING.includes(command))) {
    replaceProcess([...line.nodeFlags, line.module, ...(isApp ? rest : [command, ...rest])], env);
  } else {
    Object.assign(process.env, env);
    if (bundles) enableCompileCache(env['NODE_COMPILE_CACHE']);
    const cli: typeof import('./cli.ts') = await import(pathToFileURL(line.module).href);
    await cli.runCli([command, ...rest].filter((argument, index) => index > 0 || argument !== ''));
  }
} catch (thrown) {
  process.stderr.write(`mizzen: ${(thrown as Error).message}\n`);
  process.exit(1);
}
