import type { HeaderMap } from './headers.ts';

/** Where a transform puts what it makes of a body. */
export interface BodyOutput {
  push(chunk: Buffer): void;
  /** Ends the body; called once, in `end` of the transform or later. */
  finish(trailers: HeaderMap | undefined): void;
  /** `write` said false, and now the transform takes more. */
  drained(): void;
  /** The body cannot be made: the exchange ends with an error. `details` as access logs print them. */
  fail(details: string): void;
}

/** Changes the body of one message, chunk by chunk. One object per message; it never throws. */
export interface BodyTransform {
  /** False: enough for now, until `output.drained()`; what is written nevertheless must be taken. */
  write(chunk: Buffer, output: BodyOutput): boolean;
  /** The body was written; `output.finish` follows, with these trailers or others. */
  end(trailers: HeaderMap | undefined, output: BodyOutput): void;
  /** Who reads the output is slow: a transform that makes much out of little stops pushing until `resume`. */
  pause?(): void;
  resume?(): void;
  /** The exchange is over before the body was. */
  destroy?(): void;
}

/** Takes a body. */
export interface BodySink {
  /** False: wait for `onDrained` before writing more. */
  write(chunk: Buffer): boolean;
  end(trailers: HeaderMap | undefined): void;
}

/** Who writes into a chain. */
export interface BodyChainOwner {
  onDrained(): void;
  onFailed(details: string): void;
}

/** Waits for a body to be complete. */
export interface BodyBuffering {
  /** More than this is too large. */
  readonly limitBytes: number;
  onComplete(body: Buffer): void;
  /** `body` is what came so far; the rest is held back. */
  onTooLarge(body: Buffer): void;
}

/** How much of a body is held while a filter keeps the message; the sender waits beyond it. */
const HELD_BODY_BYTES = 64 * 1024;

/** The way of a body through the transforms of filters and the places where filters hold it. Exists only where there is one of them. */
export class BodyChain implements BodySink {
  readonly #owner: BodyChainOwner;
  readonly #links: (Stage | Hold)[] = [];
  #exit: BodySink | undefined;

  constructor(owner: BodyChainOwner) {
    this.#owner = owner;
  }

  addTransform(transform: BodyTransform): void {
    this.#add(new Stage(transform, this.#owner));
  }

  /** What comes is held here from now on. */
  addHold(buffering?: BodyBuffering): void {
    this.#add(new Hold(this.#owner, buffering));
  }

  get isHeldAtEnd(): boolean {
    return this.#links.at(-1)?.isHolding === true;
  }

  #add(link: Stage | Hold): void {
    const last = this.#links.at(-1);
    if (last !== undefined) {
      last.next = link;
      link.previous = last;
    }
    this.#links.push(link);
  }

  /** Opens every hold but the one at the end: what they held goes on to there. */
  advance(): void {
    for (const link of this.#links.slice(0, -1)) if (link instanceof Hold) link.open();
  }

  /** From now on all goes on to `exit`. */
  flowTo(exit: BodySink): void {
    this.#exit = exit;
    const last = this.#links.at(-1);
    if (last !== undefined) last.next = exit;
    for (const link of this.#links) if (link instanceof Hold) link.open();
  }

  write(chunk: Buffer): boolean {
    return this.#first.write(chunk);
  }

  end(trailers: HeaderMap | undefined): void {
    this.#first.end(trailers);
  }

  get #first(): BodySink {
    const first = this.#links[0] ?? this.#exit;
    if (first === undefined) throw new Error('a body chain without a transform, a hold or an exit');
    return first;
  }

  /** The exit, which said false, takes more. */
  onExitDrained(): void {
    (this.#links.at(-1) ?? this.#owner).onDrained();
  }

  destroy(): void {
    for (const link of this.#links) link.destroy();
  }
}

type Previous = Pick<BodyChainOwner, 'onDrained'>;

class Stage implements BodySink, BodyOutput {
  next: BodySink | undefined;
  previous: Previous;
  readonly #owner: BodyChainOwner;
  readonly #transform: BodyTransform;
  #isFull = false;
  #isBlocked = false;
  #isDestroyed = false;

  constructor(transform: BodyTransform, owner: BodyChainOwner) {
    this.#transform = transform;
    this.#owner = owner;
    this.previous = owner;
  }

  get isHolding(): boolean {
    return false;
  }

  write(chunk: Buffer): boolean {
    this.#isFull = !this.#transform.write(chunk, this);
    return !this.#isFull && !this.#isBlocked;
  }

  end(trailers: HeaderMap | undefined): void {
    this.#transform.end(trailers, this);
  }

  push(chunk: Buffer): void {
    if (this.#isDestroyed || this.next === undefined || this.next.write(chunk) || this.#isBlocked) return;
    this.#isBlocked = true;
    this.#transform.pause?.();
  }

  finish(trailers: HeaderMap | undefined): void {
    if (!this.#isDestroyed) this.next?.end(trailers);
  }

  drained(): void {
    this.#isFull = false;
    if (!this.#isBlocked && !this.#isDestroyed) this.previous.onDrained();
  }

  fail(details: string): void {
    if (!this.#isDestroyed) this.#owner.onFailed(details);
  }

  onDrained(): void {
    if (!this.#isBlocked || this.#isDestroyed) return;
    this.#isBlocked = false;
    this.#transform.resume?.();
    if (!this.#isFull && !this.#isBlocked) this.previous.onDrained();
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#transform.destroy?.();
  }
}

class Hold implements BodySink {
  next: BodySink | undefined;
  previous: Previous;
  #buffering: BodyBuffering | undefined;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #isOpen = false;
  #isBlocked = false;
  #isEnded = false;
  #trailers: HeaderMap | undefined;

  constructor(owner: BodyChainOwner, buffering: BodyBuffering | undefined) {
    this.previous = owner;
    this.#buffering = buffering;
  }

  get isHolding(): boolean {
    return !this.#isOpen;
  }

  write(chunk: Buffer): boolean {
    if (this.#isOpen) return this.#pass(chunk);
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const buffering = this.#buffering;
    if (this.#bytes <= (buffering?.limitBytes ?? HELD_BODY_BYTES)) return true;
    this.#isBlocked = true;
    this.#buffering = undefined;
    buffering?.onTooLarge(this.#body());
    return !this.#isBlocked;
  }

  end(trailers: HeaderMap | undefined): void {
    if (this.#isOpen) {
      this.next?.end(trailers);
      return;
    }
    this.#isEnded = true;
    this.#trailers = trailers;
    const buffering = this.#buffering;
    this.#buffering = undefined;
    buffering?.onComplete(this.#body());
  }

  #body(): Buffer {
    return this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
  }

  #pass(chunk: Buffer): boolean {
    const isWritable = this.next?.write(chunk) ?? true;
    if (!isWritable) this.#isBlocked = true;
    return isWritable;
  }

  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    const wasBlocked = this.#isBlocked;
    this.#isBlocked = false;
    const chunks = this.#chunks;
    this.#chunks = [];
    for (const chunk of chunks) this.#pass(chunk);
    if (this.#isEnded) this.next?.end(this.#trailers);
    else if (wasBlocked && !this.#isBlocked) this.previous.onDrained();
  }

  onDrained(): void {
    this.#isBlocked = false;
    this.previous.onDrained();
  }

  destroy(): void {
    this.#chunks = [];
    this.#buffering = undefined;
    this.next = undefined;
  }
}
