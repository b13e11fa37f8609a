import path from 'node:path';

/** The root of the repository. */
export const workspace: string = path.resolve(import.meta.dirname, '../../..');
export const mizzenBin: string = path.join(workspace, 'apps/cli/bin/mizzen.cjs');
export const networkingFolder: string = path.join(workspace, 'deploy/samples/bookinfo/networking');

export function networkingFile(name: string): string {
  return path.join(networkingFolder, `${name}.yaml`);
}
