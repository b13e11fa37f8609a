import { rounded } from './statistics.ts';

/** A `.cpuprofile` of V8, as far as it is needed here. Source: Chrome DevTools Protocol, Profiler.Profile. */
export interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: { readonly functionName: string; readonly url: string } }[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

export interface ProfileSummary {
  /** Share of the time that was not idle, in percent, largest first. */
  readonly areas: readonly Share[];
  readonly functions: readonly (Share & { readonly area: string })[];
}

interface Share {
  readonly name: string;
  readonly percent: number;
}

const TOP_FUNCTIONS = 20;

/** Self time by area and by function. */
export function summarizeProfile({ nodes, samples, timeDeltas }: CpuProfile): ProfileSummary {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byArea = new Map<string, number>();
  const byFunction = new Map<string, { name: string; area: string; time: number }>();
  let total = 0;
  samples.forEach((sample, index) => {
    const frame = frames.get(sample);
    const time = timeDeltas[index] ?? 0;
    if (frame === undefined || frame.functionName === '(idle)') return;
    const area = areaOf(frame);
    const name = frame.functionName || '(anonymous)';
    const known = byFunction.get(`${area} ${name}`) ?? { name, area, time: 0 };
    known.time += time;
    byFunction.set(`${area} ${name}`, known);
    byArea.set(area, (byArea.get(area) ?? 0) + time);
    total += time;
  });
  const percent = (time: number): number => rounded((time / total) * 100, 1);
  return {
    areas: [...byArea].sort((a, b) => b[1] - a[1]).map(([name, time]) => ({ name, percent: percent(time) })),
    functions: [...byFunction.values()]
      .sort((a, b) => b.time - a.time)
      .slice(0, TOP_FUNCTIONS)
      .map(({ name, area, time }) => ({ name, area, percent: percent(time) })),
  };
}

/** A function of C++ that JavaScript calls has no address; what it does in the kernel counts as its own time. */
function areaOf({ functionName, url }: { readonly functionName: string; readonly url: string }): string {
  if (/^write(Latin1|Utf8|Ascii)String$|^writev$|^writeBuffer$/.test(functionName)) return 'write, kernel included';
  if (functionName === '(garbage collector)') return 'garbage collector';
  if (functionName === '(program)') return 'native code without a JavaScript caller: event loop, reads';
  if (url.startsWith('node:')) return "Node's JavaScript";
  return url === '' ? 'built-in functions' : "the proxy's JavaScript";
}
