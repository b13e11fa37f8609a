import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { backoffMs, delay, systemClock } from './clock.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { isMizzenError, MizzenError } from './errors.ts';
import { CloseStack } from './lifecycle.ts';
import { joinHostPort, listenError, splitHostPort } from './net.ts';
import { Secret } from './secret.ts';
import { Watchable } from './watchable.ts';

describe('formatDiagnostic', () => {
  it('gives file, line, resource, path and code in one line', () => {
    const line = formatDiagnostic({
      code: 'IST0106',
      severity: 'error',
      message: 'weight must be a number',
      resource: { kind: 'VirtualService', namespace: 'default', name: 'reviews' },
      path: ['spec', 'http', 0, 'route'],
      position: { file: 'reviews.yaml', line: 12 },
    });
    expect(line).toBe('error reviews.yaml:12 VirtualService default/reviews spec.http[0].route: weight must be a number [IST0106]');
  });
});

describe('MizzenError.from', () => {
  it.each([undefined, null, 'text', 7, { message: 'plain' }, new Error('real')])('turns %p into a MizzenError', (thrown) => {
    const error = MizzenError.from(thrown);
    expect(isMizzenError(error)).toBe(true);
    expect(error.code).toBe('MIZZEN_UNEXPECTED');
  });

  it('leaves a MizzenError as it is', () => {
    const error = new MizzenError('MIZZEN_XDS', 'stream failed');
    expect(MizzenError.from(error)).toBe(error);
  });
});

describe('Secret', () => {
  it('prints nowhere', () => {
    const secret = new Secret('hunter2');
    expect([`${secret}`, JSON.stringify({ secret }), inspect({ secret })].join()).not.toContain('hunter2');
    expect(secret.reveal()).toBe('hunter2');
  });
});

describe('Watchable', () => {
  it('tells of changes only', () => {
    const value = new Watchable(1);
    const seen: number[] = [];
    value.watch((next) => seen.push(next));
    value.set(1);
    value.set(2);
    expect(seen).toEqual([2]);
  });

  it('resolves `until` with the current value where it fits, else with the first that does', async () => {
    const value = new Watchable(1);
    await expect(value.until((n) => n === 1)).resolves.toBe(1);
    const later = value.until((n) => n > 2);
    value.set(2);
    value.set(3);
    await expect(later).resolves.toBe(3);
  });

  it('ends a wait that is aborted', async () => {
    const wait = new Watchable(1).until((n) => n === 2, { signal: AbortSignal.abort(new Error('enough')) });
    await expect(wait).rejects.toThrow('enough');
  });
});

describe('CloseStack', () => {
  it('closes in the reverse order, all of it, and reports the first failure', async () => {
    const order: string[] = [];
    const stack = new CloseStack();
    stack.defer(() => void order.push('first'));
    stack.defer(() => {
      order.push('second');
      throw new Error('second failed');
    });
    stack.defer(() => void order.push('third'));
    await expect(stack.close()).rejects.toThrow('second failed');
    expect(order).toEqual(['third', 'second', 'first']);
  });
});

describe('delay', () => {
  it('ends at once when it is aborted', async () => {
    const abort = new AbortController();
    const wait = delay(systemClock, 3_600_000, abort.signal);
    abort.abort();
    await expect(wait).resolves.toBeUndefined();
  });
});

describe('backoffMs', () => {
  it('grows to its bound and keeps at least half of it', () => {
    const at = (attempt: number, random: number): number => backoffMs(attempt, { baseMs: 100, maxMs: 1000, random: () => random });
    expect([at(0, 0), at(0, 1), at(2, 1), at(50, 1)]).toEqual([50, 100, 400, 1000]);
  });
});

describe('addresses', () => {
  it('splits and joins both families', () => {
    expect(splitHostPort('127.0.0.1:80')).toEqual({ host: '127.0.0.1', port: 80 });
    expect(splitHostPort('[::1]:80')).toEqual({ host: '::1', port: 80 });
    expect(splitHostPort('host')).toBeUndefined();
    expect(splitHostPort('host:99999')).toBeUndefined();
    expect(joinHostPort('::1', 80)).toBe('[::1]:80');
  });

  it('says what to do about a port in use', () => {
    const error = listenError({ code: 'EADDRINUSE' }, '0.0.0.0:8080', 'the ingress gateway');
    expect(error.code).toBe('MIZZEN_PORT_IN_USE');
    expect(error.message).toContain('0.0.0.0:8080');
  });
});
