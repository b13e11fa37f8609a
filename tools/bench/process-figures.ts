import { readdirSync, readFileSync } from 'node:fs';

/** What `/proc/PID/stat` says, as far as it is needed here. Source: proc_pid_stat(5). */
export interface ProcessStat {
  readonly processGroup: number;
  /** Since the start, in clock ticks. */
  readonly userTicks: number;
  readonly kernelTicks: number;
}

/** Linux on every architecture that Node runs on: sysconf(_SC_CLK_TCK) is 100. */
const TICKS_PER_SECOND = 100;

/** Reads a line of `/proc/PID/stat`. The command in parentheses may hold spaces and parentheses itself. */
export function parseProcessStat(line: string): ProcessStat {
  const fields = line
    .slice(line.lastIndexOf(')') + 1)
    .trim()
    .split(/\s+/);
  // The first field behind the command is number 3, state.
  const field = (number: number): number => Number(fields[number - 3]);
  const stat = { processGroup: field(5), userTicks: field(14), kernelTicks: field(15) };
  if (!Object.values(stat).every(Number.isInteger)) throw new Error(`not a line of /proc/PID/stat: ${line}`);
  return stat;
}

/** Resident size in bytes, from the text of `/proc/PID/status`; 0 for a process that is just ending. */
export function parseResidentBytes(status: string): number {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(status);
  return found === null ? 0 : Number(found[1]) * 1024;
}

/** CPU time in microseconds. */
export interface CpuTime {
  readonly user: number;
  readonly kernel: number;
}

/** What all processes of a group have used so far. */
export function cpuTime(processGroup: number): CpuTime {
  const stats = groupMembers(processGroup).map(({ stat }) => stat);
  const microseconds = (ticks: readonly number[]): number => (ticks.reduce((sum, count) => sum + count, 0) / TICKS_PER_SECOND) * 1e6;
  return { user: microseconds(stats.map(({ userTicks }) => userTicks)), kernel: microseconds(stats.map(({ kernelTicks }) => kernelTicks)) };
}

/** Of the largest process of a group: what wraps it (npm, a shell) does not count. */
export function residentBytes(processGroup: number): number {
  return Math.max(0, ...groupMembers(processGroup).map(({ pid }) => parseResidentBytes(readOr(`/proc/${pid}/status`))));
}

function groupMembers(processGroup: number): readonly { pid: string; stat: ProcessStat }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const line = readOr(`/proc/${pid}/stat`);
      const stat = line === '' ? undefined : parseProcessStat(line);
      return stat?.processGroup === processGroup ? [{ pid, stat }] : [];
    });
}

// Processes end while they are looked at.
function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
