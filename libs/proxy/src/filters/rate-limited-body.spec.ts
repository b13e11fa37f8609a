import { describe, expect, it } from '@jest/globals';
import { BodyChain } from '../http/body-chain.ts';
import { TimerWheel } from '../http/timer-wheel.ts';
import { HandClock } from '../http2/testing.ts';
import { RateLimitedBody } from './rate-limited-body.ts';

const KIB = 1024;

function setUp() {
  const clock = new HandClock();
  const state = { bytes: 0, isEnded: false, drains: 0, isWritable: true };
  const chain = new BodyChain({ onDrained: () => state.drains++, onFailed: () => undefined });
  const runtime = { context: { clock }, wheel: new TimerWheel(clock) } as unknown as ConstructorParameters<typeof RateLimitedBody>[1];
  chain.addTransform(new RateLimitedBody(16, runtime));
  chain.flowTo({
    write(chunk) {
      state.bytes += chunk.length;
      return state.isWritable;
    },
    end() {
      state.isEnded = true;
    },
  });
  return { clock, state, chain };
}

describe('RateLimitedBody', () => {
  it('lets through what the rate allows, and ends when all is through', () => {
    const { clock, state, chain } = setUp();
    chain.write(Buffer.alloc(16 * KIB));
    chain.end(undefined);
    expect(state.bytes).toBe(KIB);
    clock.advance(500);
    expect(state.bytes).toBeGreaterThan(7 * KIB);
    expect(state.bytes).toBeLessThanOrEqual(9 * KIB);
    expect(state.isEnded).toBe(false);
    clock.advance(600);
    expect(state).toMatchObject({ bytes: 16 * KIB, isEnded: true });
  });

  it('holds the sender back beyond 64 KiB and tells it when there is room', () => {
    const { clock, state, chain } = setUp();
    expect(chain.write(Buffer.alloc(64 * KIB))).toBe(true);
    expect(chain.write(Buffer.alloc(8 * KIB))).toBe(false);
    clock.advance(1000);
    expect(state.drains).toBe(1);
  });

  it('gives nothing while its reader is slow', () => {
    const { clock, state, chain } = setUp();
    state.isWritable = false;
    chain.write(Buffer.alloc(16 * KIB));
    const held = state.bytes;
    clock.advance(2000);
    expect(state.bytes).toBe(held);
    state.isWritable = true;
    chain.onExitDrained();
    clock.advance(2000);
    expect(state.bytes).toBe(16 * KIB);
  });

  it('stops its clock when the exchange is over', () => {
    const { clock, state, chain } = setUp();
    chain.write(Buffer.alloc(16 * KIB));
    chain.destroy();
    clock.advance(2000);
    expect(state.bytes).toBe(KIB);
  });

  it('ends a body of nothing', () => {
    const { state, chain } = setUp();
    chain.end(undefined);
    expect(state.isEnded).toBe(true);
  });
});
