import { describe, expect, it } from '@jest/globals';
import { addAcceptedCoding, chooseCoding } from './accept-encoding.ts';

describe('chooseCoding', () => {
  it.each([
    ['gzip', { kind: 'coding', coding: 'gzip' }],
    ['br, gzip', { kind: 'coding', coding: 'br' }],
    ['gzip;q=0.5, br;q=0.8', { kind: 'coding', coding: 'br' }],
    ['GZIP; Q=0.5', { kind: 'coding', coding: 'gzip' }],
    ['*', { kind: 'wildcard', coding: 'gzip' }],
    ['*;q=0.1, br;q=0.2', { kind: 'coding', coding: 'br' }],
    ['identity, gzip;q=0.9', { kind: 'identity' }],
    ['gzip;q=0', { kind: 'not-valid' }],
    ['deflate', { kind: 'not-valid' }],
    ['gzip;q=much', { kind: 'not-valid' }],
    ['', { kind: 'not-valid' }],
  ])('reads %j', (acceptEncoding, expected) => {
    expect(chooseCoding(acceptEncoding, { offered: ['gzip', 'br'] })).toEqual(expected);
  });
});

describe('chooseCoding with a preferred coding', () => {
  it.each([
    ['gzip, br', 'br'],
    ['gzip, br;q=0.9', 'gzip'],
  ])('reads %j', (acceptEncoding, coding) => {
    expect(chooseCoding(acceptEncoding, { offered: ['gzip', 'br'], preferred: 'br' })).toEqual({ kind: 'coding', coding });
  });
});

describe('addAcceptedCoding', () => {
  it.each([
    [undefined, 'gzip'],
    ['br', 'br,gzip'],
    ['gzip;q=0.3, br', 'br,gzip'],
  ])('adds to %j', (acceptEncoding, expected) => {
    expect(addAcceptedCoding(acceptEncoding, 'gzip')).toBe(expected);
  });
});
