import { describe, expect, it } from '@jest/globals';
import { BodyChain, type BodyOutput, type BodySink, type BodyTransform } from './body-chain.ts';
import { HeaderMap } from './headers.ts';

/** Notes what comes out; `isWritable` is what it answers. */
class Exit implements BodySink {
  text = '';
  isEnded = false;
  trailers: HeaderMap | undefined;
  isWritable = true;

  write(chunk: Buffer): boolean {
    this.text += chunk.toString();
    return this.isWritable;
  }

  end(trailers: HeaderMap | undefined): void {
    this.isEnded = true;
    this.trailers = trailers;
  }
}

class Owner {
  drains = 0;
  failures: string[] = [];

  onDrained(): void {
    this.drains++;
  }

  onFailed(details: string): void {
    this.failures.push(details);
  }
}

const upperCase: BodyTransform = {
  write(chunk, output) {
    output.push(Buffer.from(chunk.toString().toUpperCase()));
    return true;
  },
  end: (trailers, output) => output.finish(trailers),
};

/** Says that it is full at once, and gives what it took when it is told. */
class Slow implements BodyTransform {
  output: BodyOutput | undefined;
  #taken: Buffer[] = [];
  isPaused = false;
  isDestroyed = false;
  #ends = false;

  write(chunk: Buffer, output: BodyOutput): boolean {
    this.output = output;
    this.#taken.push(chunk);
    return false;
  }

  end(_trailers: HeaderMap | undefined, output: BodyOutput): void {
    this.output = output;
    this.#ends = true;
  }

  give(): void {
    for (const chunk of this.#taken.splice(0)) this.output?.push(chunk);
    if (this.#ends) this.output?.finish(undefined);
    else this.output?.drained();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  destroy(): void {
    this.isDestroyed = true;
  }
}

const bytes = (text: string): Buffer => Buffer.from(text);

describe('a body chain', () => {
  it('takes a body through its transforms in order, trailers too', () => {
    const chain = new BodyChain(new Owner());
    const exit = new Exit();
    chain.addTransform(upperCase);
    chain.addTransform({
      write(chunk, output) {
        output.push(Buffer.concat([bytes('<'), chunk, bytes('>')]));
        return true;
      },
      end(trailers, output) {
        output.push(bytes('.'));
        output.finish(trailers);
      },
    });
    chain.flowTo(exit);
    chain.write(bytes('a'));
    chain.write(bytes('b'));
    const trailers = new HeaderMap();
    chain.end(trailers);
    expect(exit).toMatchObject({ text: '<A><B>.', isEnded: true, trailers });
  });

  it('holds what comes while a filter decides, and asks to wait beyond 64 KiB', () => {
    const owner = new Owner();
    const chain = new BodyChain(owner);
    const exit = new Exit();
    chain.addHold();
    expect(chain.write(Buffer.alloc(64 * 1024))).toBe(true);
    expect(chain.write(bytes('x'))).toBe(false);
    chain.flowTo(exit);
    expect(exit.text).toHaveLength(64 * 1024 + 1);
    expect(owner.drains).toBe(1);
    chain.end(undefined);
    expect(exit.isEnded).toBe(true);
  });

  it('gives a filter the whole body as the filters before it made it, and those behind it what it held', () => {
    const chain = new BodyChain(new Owner());
    const exit = new Exit();
    const complete: string[] = [];
    chain.addHold();
    chain.write(bytes('ab'));
    chain.addTransform(upperCase);
    chain.addHold({ limitBytes: 4, onComplete: (body) => complete.push(body.toString()), onTooLarge: () => complete.push('too large') });
    chain.advance();
    chain.write(bytes('cd'));
    expect(complete).toEqual([]);
    chain.end(undefined);
    expect(complete).toEqual(['ABCD']);
    expect(exit.text).toBe('');
    chain.flowTo(exit);
    expect(exit).toMatchObject({ text: 'ABCD', isEnded: true });
  });

  it('tells of a body that is too large once, with what came of it', () => {
    const chain = new BodyChain(new Owner());
    const told: string[] = [];
    chain.addHold({ limitBytes: 3, onComplete: () => told.push('complete'), onTooLarge: (body) => told.push(body.toString()) });
    expect(chain.write(bytes('abc'))).toBe(true);
    expect(chain.write(bytes('d'))).toBe(false);
    chain.write(bytes('e'));
    chain.end(undefined);
    expect(told).toEqual(['abcd']);
  });

  it('waits for a transform that is full, and for an exit that is', () => {
    const owner = new Owner();
    const chain = new BodyChain(owner);
    const exit = new Exit();
    const slow = new Slow();
    chain.addTransform(slow);
    chain.flowTo(exit);
    expect(chain.write(bytes('a'))).toBe(false);
    exit.isWritable = false;
    slow.give();
    expect(slow.isPaused).toBe(true);
    expect(owner.drains).toBe(0);
    chain.onExitDrained();
    expect(slow.isPaused).toBe(false);
    expect(owner.drains).toBe(1);
  });

  it('lets nothing out of a transform once the exchange is over', () => {
    const owner = new Owner();
    const chain = new BodyChain(owner);
    const exit = new Exit();
    const slow = new Slow();
    chain.addTransform(slow);
    chain.flowTo(exit);
    chain.write(bytes('a'));
    chain.destroy();
    slow.give();
    slow.output?.fail('late');
    expect(exit.text).toBe('');
    expect(owner).toMatchObject({ drains: 0, failures: [] });
    expect(slow.isDestroyed).toBe(true);
  });
});
