import { existsSync } from 'node:fs';
import { describe } from '@jest/globals';

/** `describe`, skipped where KUBECONFIG names no file; titles say "(needs kubernetes)". */
export const describeOnKubernetes: typeof describe.skip = existsSync(process.env['KUBECONFIG'] ?? '') ? describe : describe.skip;
