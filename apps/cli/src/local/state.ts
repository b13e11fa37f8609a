import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { ProcessStatus } from './managed-process.ts';

/** The addresses of a running local mesh; hosts and ports as other processes reach them. */
export interface MeshAddresses {
  readonly gateway: string;
  readonly gatewayHttps: string;
  readonly telemetry: string;
  readonly otlp: string;
  readonly debug: string;
  readonly xds: string;
  readonly xdsMtls: string;
  readonly ca: string;
}

/** <home>/run/state.json: what the other commands know of the running mesh. */
export interface MeshState {
  readonly pid: number;
  readonly startedAt: string;
  readonly trustDomain: string;
  readonly config: string;
  readonly addresses: MeshAddresses;
  readonly processes: readonly ProcessStatus[];
}

/** The state of the home, or undefined where there is none or it cannot be read. It may be left over from a supervisor that was killed. */
export function readState(file: string): MeshState | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as MeshState;
  } catch {
    return undefined;
  }
}

/** In one step, so that a reader never sees half of it. */
export function writeState(file: string, state: MeshState): void {
  const staging = `${file}.${process.pid}`;
  writeFileSync(staging, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(staging, file);
}

export function removeState(file: string): void {
  rmSync(file, { force: true });
}
