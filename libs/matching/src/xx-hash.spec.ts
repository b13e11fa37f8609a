import { describe, expect, it } from '@jest/globals';
import { xxHash64 } from './xx-hash.ts';

describe('xxHash64', () => {
  // Source: the reference implementation's own outputs, as its test vectors and Envoy's hash_test.cc give them.
  it.each([
    ['', 0, 0xef46db3751d8e999n],
    ['a', 0, 0xd24ec4f1a98c6e5bn],
    ['abc', 0, 0x44bc2cf5ad770999n],
    ['foo', 0, 3728699739546630719n],
    ['bar', 0, 5234164152756840025n],
    ['Nobody inspects the spammish repetition', 0, 0xfbcea83c8a378bf1n],
  ])('hashes %j', (text, seed, expected) => {
    expect(xxHash64(text, seed)).toBe(expected);
  });
});
