import { colors } from '../output/colors.ts';

/** Where a command's lines of progress go: one per step when it is done, with how long it took. */
export interface Progress {
  /** Runs one step and prints its line; a failing step's line is printed too, and what it threw is thrown on. */
  step<T>(title: string, work: () => Promise<T>, describe?: (result: T) => string): Promise<T>;
  /** A line that belongs to no step. */
  note(line: string): void;
}

export interface ProgressOptions {
  readonly write: (text: string) => void;
  readonly monotonicMs: () => number;
}

export function createProgress({ write, monotonicMs }: ProgressOptions): Progress {
  return {
    async step(title, work, describe) {
      const startedMs = monotonicMs();
      const seconds = (): string => colors.dim(`${((monotonicMs() - startedMs) / 1000).toFixed(1)} s`);
      try {
        const result = await work();
        const description = describe?.(result) ?? '';
        write(`${colors.green('✓')} ${title.padEnd(TITLE_WIDTH)} ${seconds()}${description === '' ? '' : `   ${description}`}\n`);
        return result;
      } catch (thrown) {
        write(`${colors.red('✗')} ${title.padEnd(TITLE_WIDTH)} ${seconds()}\n`);
        throw thrown;
      }
    },
    note: (line) => write(`${line}\n`),
  };
}

const TITLE_WIDTH = 28;
