import { describe, expect, it } from '@jest/globals';
import { Secret } from '@mizzen/core';
import { chooseKeyPairs } from './certificate-choice.ts';
import type { KeyPair } from './secret-store.ts';

function pair(chain: string, keyKind: 'rsa' | 'ec', ...names: string[]): KeyPair {
  return { chain, key: new Secret(''), password: undefined, uriSan: '', names, keyKind };
}

const FIRST = pair('first', 'rsa', 'first.example');
const RSA = pair('rsa', 'rsa', 'shop.example', '*.shop.example');
const EC = pair('ec', 'ec', 'shop.example');
const OTHER_EC = pair('other', 'ec', 'other.example');
const ALL = [FIRST, RSA, EC, OTHER_EC];

function chosen(serverName: string, scansAll = false): string[] {
  return chooseKeyPairs(ALL, serverName, scansAll).map(({ chain }) => chain);
}

describe('chooseKeyPairs', () => {
  it('offers the certificate of each kind of key that carries the name', () => {
    expect(chosen('shop.example')).toEqual(['rsa', 'ec']);
    expect(chosen('other.example')).toEqual(['other']);
  });

  it('lets a wildcard stand for one label, and prefers the exact name', () => {
    expect(chosen('a.shop.example')).toEqual(['rsa']);
    expect(chosen('a.b.shop.example')).toEqual(['first']);
  });

  it('offers the first certificate to a name that none carries, or with a full scan the first of each kind', () => {
    expect(chosen('unknown.example')).toEqual(['first']);
    expect(chosen('localhost')).toEqual(['first']);
    expect(chosen('unknown.example', true)).toEqual(['first', 'ec']);
    expect(chosen('')).toEqual(['first', 'ec']);
  });
});
