import { describe, expect, it } from '@jest/globals';
import { delayProgramStop } from './late-stop.ts';
import type { Container, Pod } from './pod.ts';

function podOf(containers: readonly Container[], spec: Record<string, unknown> = {}): Pod {
  return { spec: { containers, ...spec } };
}

const hooksOf = (pod: Pod): unknown[] => (pod.spec?.containers ?? []).map(({ lifecycle }) => lifecycle);

describe('delayProgramStop', () => {
  it('lets programs live on for a while, beside hooks that they have', () => {
    const postStart = { httpGet: { path: '/', port: 1 } };
    const pod = podOf([{ name: 'a' }, { name: 'b', lifecycle: { postStart } }, { name: 'istio-proxy' }]);
    expect(hooksOf(delayProgramStop(pod, 5))).toEqual([
      { preStop: { sleep: { seconds: 5 } } },
      { postStart, preStop: { sleep: { seconds: 5 } } },
      undefined,
    ]);
  });

  it('leaves a hook of the program’s own alone', () => {
    const preStop = { exec: { command: ['true'] } };
    expect(hooksOf(delayProgramStop(podOf([{ name: 'a', lifecycle: { preStop } }]), 5))).toEqual([{ preStop }]);
  });

  it.each([
    ['is switched off', 0, {}],
    ['would take all of the grace period', 5, { terminationGracePeriodSeconds: 5 }],
  ])('does nothing where it %s', (_, seconds, spec) => {
    expect(hooksOf(delayProgramStop(podOf([{ name: 'a' }], spec), seconds))).toEqual([undefined]);
  });

  it('fits into a grace period that is a little longer', () => {
    expect(hooksOf(delayProgramStop(podOf([{ name: 'a' }], { terminationGracePeriodSeconds: 6 }), 5))).not.toEqual([undefined]);
  });
});
