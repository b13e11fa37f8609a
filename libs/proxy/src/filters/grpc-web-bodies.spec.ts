import { describe, expect, it } from '@jest/globals';
import { BodyChain, type BodyTransform } from '../http/body-chain.ts';
import { HeaderMap } from '../http/headers.ts';
import { Base64Body, DroppedBody, GrpcWebAnswer } from './grpc-web-bodies.ts';

/** What comes out of a transform for these chunks. */
function through(
  transform: BodyTransform,
  chunks: readonly (string | Buffer)[],
  trailers?: HeaderMap,
): { bytes: Buffer; trailers: HeaderMap | undefined; isEnded: boolean } {
  const out: { bytes: Buffer; trailers: HeaderMap | undefined; isEnded: boolean } = {
    bytes: Buffer.alloc(0),
    trailers: undefined,
    isEnded: false,
  };
  const chain = new BodyChain({ onDrained: () => undefined, onFailed: () => undefined });
  chain.addTransform(transform);
  chain.flowTo({
    write(chunk) {
      out.bytes = Buffer.concat([out.bytes, chunk]);
      return true;
    },
    end(last) {
      out.isEnded = true;
      out.trailers = last;
    },
  });
  for (const chunk of chunks) chain.write(Buffer.from(chunk));
  chain.end(trailers);
  return out;
}

describe('a gRPC-Web request in text form', () => {
  const bytes = Buffer.from(Array.from({ length: 100 }, (_, index) => (index * 37) % 256));

  it('becomes bytes wherever it is cut', () => {
    const text = bytes.toString('base64');
    for (let cut = 0; cut <= text.length; cut++) {
      expect(through(new Base64Body(() => undefined), [text.slice(0, cut), text.slice(cut)])).toMatchObject({ bytes, isEnded: true });
    }
  });

  it('may come in pieces that each have their padding', () => {
    const text = bytes.subarray(0, 10).toString('base64') + bytes.subarray(10).toString('base64');
    expect(through(new Base64Body(() => undefined), [text]).bytes).toEqual(bytes);
  });

  it.each(['AAAAA', '!!!!', 'AAA', 'A===', 'AA=A'])('is invalid: %s', (text) => {
    let failures = 0;
    expect(through(new Base64Body(() => failures++), [text]).bytes.length).toBeLessThanOrEqual(3);
    expect(failures).toBeGreaterThan(0);
  });
});

describe('a gRPC-Web answer', () => {
  const trailers = (): HeaderMap => {
    const map = new HeaderMap();
    map.push('grpc-status', '0');
    map.push('grpc-message', 'fine');
    return map;
  };

  it('has its trailers as the last frame of the body', () => {
    const seen: HeaderMap[] = [];
    const given = trailers();
    const { bytes, trailers: left, isEnded } = through(new GrpcWebAnswer(false, (map) => seen.push(map)), ['body'], given);
    const lines = 'grpc-status:0\r\ngrpc-message:fine\r\n';
    expect(bytes).toEqual(Buffer.concat([Buffer.from('body'), Buffer.from([0x80, 0, 0, 0, lines.length]), Buffer.from(lines)]));
    expect([left, isEnded, seen]).toEqual([undefined, true, [given]]);
  });

  it('is text in pieces of four letters', () => {
    const { bytes } = through(new GrpcWebAnswer(true, () => undefined), ['b', 'ody'], trailers());
    expect(bytes.length % 4).toBe(0);
    expect(bytes.subarray(0, 8).toString()).toBe('Yg==b2R5');
  });
});

it('a dropped body leaves nothing but its end', () => {
  expect(through(new DroppedBody(), ['text'])).toEqual({ bytes: Buffer.alloc(0), trailers: undefined, isEnded: true });
});
