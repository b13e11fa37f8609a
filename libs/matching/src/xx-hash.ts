// 64-bit arithmetic in two 32-bit halves: BigInt costs a hundred times as much, and rings hash thousands of keys.
let high = 0;
let low = 0;

type Wide = readonly [high: number, low: number];

const PRIME_1: Wide = [0x9e3779b1, 0x85ebca87];
const PRIME_2: Wide = [0xc2b2ae3d, 0x27d4eb4f];
const PRIME_3: Wide = [0x165667b1, 0x9e3779f9];
const PRIME_4: Wide = [0x85ebca77, 0xc2b2ae63];
const PRIME_5: Wide = [0x27d4eb2f, 0x165667c5];
const STRIPE_BYTES = 32;

function load(value: Wide): void {
  high = value[0];
  low = value[1];
}

function add([otherHigh, otherLow]: Wide): void {
  const sum = low + otherLow;
  high = (high + otherHigh + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  low = sum >>> 0;
}

function subtract([otherHigh, otherLow]: Wide): void {
  high = (high - otherHigh - (low < otherLow ? 1 : 0)) >>> 0;
  low = (low - otherLow) >>> 0;
}

function xor([otherHigh, otherLow]: Wide): void {
  high = (high ^ otherHigh) >>> 0;
  low = (low ^ otherLow) >>> 0;
}

function multiply([otherHigh, otherLow]: Wide): void {
  const a0 = low & 0xffff;
  const a1 = low >>> 16;
  const b0 = otherLow & 0xffff;
  const b1 = otherLow >>> 16;
  const low0 = a0 * b0;
  const middle = a1 * b0 + (low0 >>> 16);
  const middleLow = (middle % 0x10000) + a0 * b1;
  const carry = a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(middleLow / 0x10000);
  high = (carry + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) >>> 0;
  low = ((middleLow << 16) | (low0 & 0xffff)) >>> 0;
}

function rotate(bits: number): void {
  const [h, l] = bits < 32 ? [high, low] : [low, high];
  const by = bits & 31;
  if (by === 0) {
    high = h;
    low = l;
    return;
  }
  high = ((h << by) | (l >>> (32 - by))) >>> 0;
  low = ((l << by) | (h >>> (32 - by))) >>> 0;
}

function xorShifted(bits: number): void {
  if (bits >= 32) low = (low ^ (high >>> (bits - 32))) >>> 0;
  else {
    low = (low ^ ((low >>> bits) | (high << (32 - bits)))) >>> 0;
    high = (high ^ (high >>> bits)) >>> 0;
  }
}

function wordAt(bytes: Buffer, at: number): Wide {
  return [bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at)];
}

/** One lane's step: (lane + word * PRIME_2) rotated by 31, times PRIME_1. */
function round(lane: Wide, word: Wide): Wide {
  load(word);
  multiply(PRIME_2);
  add(lane);
  rotate(31);
  multiply(PRIME_1);
  return [high, low];
}

function hashStripes(bytes: Buffer, seed: Wide): number {
  const lanes: [Wide, Wide, Wide, Wide] = [startOf(seed, PRIME_1, PRIME_2), startOf(seed, PRIME_2), seed, startMinus(seed)];
  let at = 0;
  for (; at + STRIPE_BYTES <= bytes.length; at += STRIPE_BYTES)
    for (let lane = 0; lane < 4; lane++) lanes[lane] = round(lanes[lane] as Wide, wordAt(bytes, at + lane * 8));
  let sum: Wide = [0, 0];
  for (const [index, bits] of [1, 7, 12, 18].entries()) {
    load(lanes[index] as Wide);
    rotate(bits);
    add(sum);
    sum = [high, low];
  }
  for (const lane of lanes) {
    const merged = round([0, 0], lane);
    load(sum);
    xor(merged);
    multiply(PRIME_1);
    add(PRIME_4);
    sum = [high, low];
  }
  load(sum);
  return at;
}

function startOf(seed: Wide, ...primes: readonly Wide[]): Wide {
  load(seed);
  for (const prime of primes) add(prime);
  return [high, low];
}

function startMinus(seed: Wide): Wide {
  load(seed);
  subtract(PRIME_1);
  return [high, low];
}

function hashTail(bytes: Buffer, from: number): void {
  let at = from;
  for (; at + 8 <= bytes.length; at += 8) {
    const before: Wide = [high, low];
    const word = round([0, 0], wordAt(bytes, at));
    load(before);
    xor(word);
    rotate(27);
    multiply(PRIME_1);
    add(PRIME_4);
  }
  if (at + 4 <= bytes.length) {
    mixIn(bytes.readUInt32LE(at), PRIME_1);
    rotate(23);
    multiply(PRIME_2);
    add(PRIME_3);
    at += 4;
  }
  for (; at < bytes.length; at++) {
    mixIn(bytes[at] as number, PRIME_5);
    rotate(11);
    multiply(PRIME_1);
  }
}

function mixIn(value: number, prime: Wide): void {
  const before: Wide = [high, low];
  load([0, value]);
  multiply(prime);
  xor(before);
}

/**
 * xxHash with 64 bits, as Envoy hashes the keys of consistent hashing: the same key finds the same endpoint from both proxies. Of the UTF-8
 * bytes of the text; `seed` is an unsigned 32-bit integer. Source: xxHash specification 0.1.1, "XXH64 algorithm description".
 */
export function xxHash64(text: string, seed = 0): bigint {
  const bytes = Buffer.from(text);
  let at = 0;
  if (bytes.length >= STRIPE_BYTES) at = hashStripes(bytes, [0, seed]);
  else load(startOf([0, seed], PRIME_5));
  add([0, bytes.length]);
  hashTail(bytes, at);
  xorShifted(33);
  multiply(PRIME_2);
  xorShifted(29);
  multiply(PRIME_3);
  xorShifted(32);
  return (BigInt(high) << 32n) | BigInt(low);
}
