import { createRequire } from 'node:module';
import { join } from 'node:path';
import { errorMessage, MizzenError } from '@mizzen/core';

type Koffi = typeof import('koffi').default;

/** A function of the C library. Buffers are passed by their address; the result is what C returns. */
export type LibcFunction = (...args: readonly unknown[]) => number;

export interface Libc {
  /** `signature` in C, with koffi's `_Out_` and `_Inout_` marks. */
  function(signature: string): LibcFunction;
  /** Where the bytes of a buffer are, for structures that point to them. They must be held as long as C may look. */
  address(buffer: Buffer): bigint;
  /** `errno` of the last call. */
  errno(): number;
}

let loaded: Libc | undefined;

/**
 * The C library of this process, for the few system calls that Node does not offer. It costs 10 ms and 7 MB, once: called only where
 * configuration asks for one. Throws MIZZEN_ADDRESS with what to install where koffi is not there.
 */
export function loadLibc(): Libc {
  loaded ??= wrap(loadKoffi());
  return loaded;
}

function wrap(koffi: Koffi): Libc {
  const library = koffi.load(null);
  return {
    function: (signature) => library.func(signature) as unknown as LibcFunction,
    address: (buffer) => koffi.address(buffer),
    errno: () => koffi.errno(),
  };
}

// A native addon is not part of a bundle: it lies in node_modules, beside the bundle (images) or in the workspace.
function loadKoffi(): Koffi {
  const workspace = process.env['MIZZEN_WORKSPACE'];
  const places = [import.meta.url, ...(workspace === undefined ? [] : [join(workspace, 'package.json')])];
  const failures: unknown[] = [];
  for (const place of places) {
    try {
      return createRequire(place)('koffi') as Koffi;
    } catch (thrown) {
      failures.push(thrown);
    }
  }
  throw new MizzenError(
    'MIZZEN_ADDRESS',
    `the npm package koffi cannot be loaded (${errorMessage(failures[0]).split('\n')[0]}); install koffi and its package for ${process.platform}-${process.arch} beside this program`,
    { cause: failures[0] },
  );
}
