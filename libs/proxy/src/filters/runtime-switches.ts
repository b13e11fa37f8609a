import { runtimeFractionOf } from '@mizzen/matching';
import type { RuntimeFeatureFlag, RuntimeFractionalPercent } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { RuntimeValues } from '../config/runtime-values.ts';

/** A share between 0 and 1 that the runtime may override; `absent` where the message says nothing. */
export function runtimeRatio(message: RuntimeFractionalPercent | undefined, runtime: RuntimeValues, absent: number): () => number {
  if (message === undefined) return () => absent;
  const ratio = runtimeFractionOf(message);
  const { runtimeKey } = message;
  return runtimeKey === '' ? () => ratio : () => runtime.number(runtimeKey, ratio * 100) / 100;
}

/** On unless the message or the runtime says otherwise. */
export function runtimeFlag(message: RuntimeFeatureFlag | undefined, runtime: RuntimeValues): () => boolean {
  const fallback = message?.defaultValue ?? true;
  const key = message?.runtimeKey ?? '';
  if (key === '') return () => fallback;
  return () => {
    const value = runtime.get(key);
    return value === undefined ? fallback : value === 'true';
  };
}
