/** The versions of ratings that misbehave on purpose, for trying out what a mesh does about it. */
export const MISBEHAVIOURS = ['v-faulty', 'v-delayed', 'v-unavailable', 'v-unhealthy'] as const;
export type Misbehaviour = (typeof MISBEHAVIOURS)[number];

export interface MisbehaviourInputs {
  /** Milliseconds since the service started. */
  readonly uptimeMs: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** What becomes of one request. */
export type Fate = { readonly kind: 'answer'; readonly afterMs: number } | { readonly kind: 'unavailable' };

const DELAY_MS = 7_000;
const UNAVAILABLE_PERIOD_MS = 60_000;
const UNHEALTHY_PERIOD_MS = 15 * 60_000;
const AT_ONCE: Fate = { kind: 'answer', afterMs: 0 };
const UNAVAILABLE: Fate = { kind: 'unavailable' };

/** Half of the calls to v-faulty fail, half of those to v-delayed take 7 s; v-unavailable and v-unhealthy fail every other period. */
export function decideFate(misbehaviour: Misbehaviour | undefined, inputs: MisbehaviourInputs): Fate {
  switch (misbehaviour) {
    case 'v-faulty':
      return inputs.random() <= 0.5 ? UNAVAILABLE : AT_ONCE;
    case 'v-delayed':
      return inputs.random() <= 0.5 ? { kind: 'answer', afterMs: DELAY_MS } : AT_ONCE;
    case 'v-unavailable':
      return isOddPeriod(inputs.uptimeMs(), UNAVAILABLE_PERIOD_MS) ? UNAVAILABLE : AT_ONCE;
    case 'v-unhealthy':
      return isOddPeriod(inputs.uptimeMs(), UNHEALTHY_PERIOD_MS) ? UNAVAILABLE : AT_ONCE;
    case undefined:
      return AT_ONCE;
  }
}

/** Only v-unhealthy admits in its health check that something is wrong. */
export function isHealthy(misbehaviour: Misbehaviour | undefined, inputs: MisbehaviourInputs): boolean {
  return misbehaviour !== 'v-unhealthy' || !isOddPeriod(inputs.uptimeMs(), UNHEALTHY_PERIOD_MS);
}

function isOddPeriod(uptimeMs: number, periodMs: number): boolean {
  return Math.floor(uptimeMs / periodMs) % 2 === 1;
}
