// `npm run features`: runs the comparisons with Envoy, notes which fields of xDS their bootstraps use, tries all the others on our proxy,
// and writes docs/reference/xds-features.json and .md.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root } from '../check/workspace.ts';
import { type RecordedBootstrap, readFeatures } from './probe.ts';
import { featuresDocument } from './table.ts';

const COMPARISONS = 'apps/e2e/src/(envoy-differential|smuggling)';

const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-features-'));
try {
  const jest = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '--silent', '--testPathPatterns', COMPARISONS];
  const { status } = spawnSync(process.execPath, jest, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, MIZZEN_RECORD_BOOTSTRAPS: folder },
  });
  if (status !== 0) throw new Error('the comparisons failed; see above');
  const recorded = readdirSync(folder).map((file): RecordedBootstrap => JSON.parse(readFileSync(path.join(folder, file), 'utf8')));
  if (recorded.length === 0) throw new Error('no comparison started Envoy; install it as .ci/run does');
  const features = readFeatures(recorded);
  writeFileSync(path.join(root, 'docs/reference/xds-features.json'), `${JSON.stringify(features, null, 2)}\n`);
  writeFileSync(path.join(root, 'docs/reference/xds-features.md'), featuresDocument(features));
  spawnSync(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'format', '--write', 'docs/reference/xds-features.json'], {
    cwd: root,
  });
  process.stderr.write(`features: ${features.length} fields from ${recorded.length} bootstraps\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
