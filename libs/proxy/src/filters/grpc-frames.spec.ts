import { describe, expect, it } from '@jest/globals';
import { GrpcFrameCounter, grpcMethodOf } from './grpc-frames.ts';

function frame(text: string): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(text.length, 1);
  return Buffer.concat([header, Buffer.from(text)]);
}

describe('GrpcFrameCounter', () => {
  const body = Buffer.concat([frame('hello'), frame(''), frame('x'.repeat(300)), frame('world')]);

  it('counts the messages of a body wherever it is cut', () => {
    for (let first = 0; first <= body.length; first++) {
      for (const second of [first, Math.min(first + 1, body.length), Math.min(first + 4, body.length), body.length]) {
        const counter = new GrpcFrameCounter();
        const pieces = [body.subarray(0, first), body.subarray(first, second), body.subarray(second)];
        expect(pieces.reduce((sum, piece) => sum + counter.count(piece), 0)).toBe(4);
      }
    }
  });

  it('counts a message once its first byte is there', () => {
    const counter = new GrpcFrameCounter();
    expect([counter.count(frame('a').subarray(0, 1)), counter.count(frame('a').subarray(1))]).toEqual([1, 0]);
  });
});

describe('grpcMethodOf', () => {
  it.each([
    ['/a.B/C', { service: 'a.B', method: 'C' }],
    ['/a.B', undefined],
    ['/a/b/c', undefined],
    ['/a/b?c', undefined],
    ['', undefined],
  ])('reads %j', (path, expected) => {
    expect(grpcMethodOf(path)).toEqual(expected);
  });
});
