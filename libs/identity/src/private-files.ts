import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, MizzenError } from '@mizzen/core';

const OWNER_ONLY = 0o600;

/** Makes a folder that only its owner can enter. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
}

/** Writes a whole file or nothing: readers see the old content or the new. Mode 0600 unless told otherwise. */
export async function writeFileAtomically(file: string, content: string, mode = OWNER_ONLY): Promise<void> {
  await rename(await writeBeside(file, content, mode), file);
}

/** Creates a file unless there is one. False when another process was first; its content then stands. */
export async function createFileOnce(file: string, content: string, mode = OWNER_ONLY): Promise<boolean> {
  const temporary = await writeBeside(file, content, mode);
  try {
    // `link` fails where the name exists, and the name appears with its whole content.
    await link(temporary, file);
    return true;
  } catch (thrown) {
    if (errorCode(thrown) === 'EEXIST') return false;
    throw thrown;
  } finally {
    await unlink(temporary);
  }
}

async function writeBeside(file: string, content: string, mode: number): Promise<string> {
  await makePrivateFolder(dirname(file));
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  const handle = await open(temporary, 'wx', mode);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return temporary;
}

/** Throws MIZZEN_IDENTITY when others than the owner may read or write the file. */
export async function requireOwnerOnly(file: string): Promise<void> {
  const { mode } = await stat(file);
  if ((mode & 0o077) === 0) return;
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  throw new MizzenError(
    'MIZZEN_IDENTITY',
    `${file} may be read by others (mode ${shown}): run chmod 600 on it, and replace the key if they should not have seen it`,
  );
}
