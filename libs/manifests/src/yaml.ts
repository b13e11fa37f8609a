import { stringify } from 'yaml';
import type { KubeObject } from './objects.ts';

/** The objects as one file of YAML documents; in YAML 1.1, which kubectl and Helm read: `yes` is quoted. */
export function manifestYaml(objects: readonly KubeObject[]): string {
  return objects.map((object) => stringify(object, { aliasDuplicateObjects: false, lineWidth: 0, version: '1.1' })).join('---\n');
}
