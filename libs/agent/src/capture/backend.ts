import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { errorCode, MizzenError } from '@mizzen/core';
import type { IpFamily } from './rule.ts';

/** The two implementations of iptables; the kernel obeys both, so that rules of one do not undo those of the other. */
export type BackendName = 'nft' | 'legacy';

/** One implementation of iptables for one family. */
export interface Backend {
  readonly name: BackendName;
  readonly family: IpFamily;
  /** The rules that are there. Throws MIZZEN_UNEXPECTED with what the program said. */
  save(): string;
  /** Applies `iptables-restore` text without touching other chains, table by table, each in one step. Throws as `save`. */
  restore(text: string): void;
}

const LOCK_WAIT_SECONDS = '30';
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin', '/bin'];
const PROGRAM: Readonly<Record<IpFamily, string>> = { ipv4: 'iptables', ipv6: 'ip6tables' };

/** Those that are installed, nft first. */
export function installedBackends(family: IpFamily): readonly Backend[] {
  const named = (['nft', 'legacy'] as const).flatMap((name) => backendOf(name, { family, program: `${PROGRAM[family]}-${name}` }) ?? []);
  if (named.length > 0) return named;
  // A distribution with only one of them may give it the plain name.
  const plain = findProgram(PROGRAM[family]);
  if (plain === undefined) return [];
  const { stdout } = spawnSync(plain, ['--version'], { encoding: 'utf8' });
  return [backendOf(stdout?.includes('nf_tables') ? 'nft' : 'legacy', { family, program: PROGRAM[family] }) ?? []].flat();
}

/**
 * The one that the rules go to: that which has rules already (Docker's, for one), else the first that the kernel lets us use.
 * Throws MIZZEN_UNEXPECTED with what each said where none can be used. Source: istio DetectIptablesVersion.
 */
export function chooseBackend(backends: readonly Backend[]): Backend {
  const failures: string[] = [];
  const usable = backends.filter((backend) => {
    try {
      backend.save();
      return true;
    } catch (thrown) {
      failures.push((thrown as Error).message);
      return false;
    }
  });
  const chosen = usable.find((backend) => /^-A /m.test(backend.save())) ?? usable[0];
  if (chosen !== undefined) return chosen;
  throw new MizzenError(
    'MIZZEN_UNEXPECTED',
    failures.length > 0 ? failures.join('\n') : 'iptables is not installed; install it (Debian and Alpine: the package iptables)',
  );
}

function backendOf(name: BackendName, { family, program }: { readonly family: IpFamily; readonly program: string }): Backend | undefined {
  const save = findProgram(`${program}-save`);
  const restore = findProgram(`${program}-restore`);
  if (save === undefined || restore === undefined) return undefined;
  return {
    name,
    family,
    save: () => run(save, []),
    restore: (text) => void run(restore, ['--noflush', '--wait', LOCK_WAIT_SECONDS], text),
  };
}

function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function run(program: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { input, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (status === 0) return stdout;
  const said = error === undefined ? stderr.trim() : errorCode(error);
  throw new MizzenError('MIZZEN_UNEXPECTED', `${program} failed: ${said || `exit code ${status}`}`);
}
