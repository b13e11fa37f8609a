import path from 'node:path';
import { workspace } from '../workspace.ts';
import { kubectl, mizzen } from './cluster.ts';

const VALUES = path.join(workspace, 'apps/e2e/src/kubernetes/values.yaml');

/** The mesh as `mizzen install` puts it there, with the images that were built from this tree. Left in place for the suite that follows. */
export async function ensureInstalled(): Promise<void> {
  await mizzen('install', '-f', VALUES, '--timeout', '240s');
}

/** Takes the namespace `default` into the mesh, or out of it. */
export async function labelDefaultNamespace(isInjected: boolean): Promise<void> {
  await kubectl(['label', 'namespace', 'default', isInjected ? 'istio-injection=enabled' : 'istio-injection-', '--overwrite']);
}
