import { describe, expect, it } from '@jest/globals';
import { dnsNameCovers, parseSubjectAltNames } from './subject-alt-names.ts';

const NONE = { uris: [], dns: [], ips: [], emails: [] };

describe('subject alternative names', () => {
  it('are read by kind', () => {
    expect(parseSubjectAltNames('URI:spiffe://cluster.local/ns/a/sa/b, DNS:a.example, IP Address:127.0.0.1, email:a@b.c')).toEqual({
      uris: ['spiffe://cluster.local/ns/a/sa/b'],
      dns: ['a.example'],
      ips: ['127.0.0.1'],
      emails: ['a@b.c'],
    });
    expect(parseSubjectAltNames(undefined)).toEqual(NONE);
  });

  it('cannot be forged by a comma, a quote or a NUL inside a name', () => {
    expect(parseSubjectAltNames('DNS:"evil, URI:spiffe://cluster.local/ns/a/sa/admin"')).toEqual({
      ...NONE,
      dns: ['evil, URI:spiffe://cluster.local/ns/a/sa/admin'],
    });
    expect(parseSubjectAltNames('DNS:"a\\"", URI:spiffe://x')).toEqual({ ...NONE, dns: ['a"'], uris: ['spiffe://x'] });
    expect(parseSubjectAltNames('URI:"spiffe://cluster.local/ns/a/sa/admin\\u0000.evil"')).toEqual(NONE);
    expect(parseSubjectAltNames('URI:spiffe://ok, DNS:"broken')).toEqual(NONE);
  });
});

describe('a DNS name of a certificate', () => {
  it.each([
    ['storage.googleapis.com', 'storage.googleapis.com'],
    ['Storage.GoogleAPIs.com', 'storage.googleapis.COM'],
    ['*.googleapis.com', 'storage.googleapis.com'],
    ['stor*.googleapis.com', 'storage.googleapis.com'],
    ['*age.googleapis.com', 'storage.googleapis.com'],
    ['s*e.googleapis.com', 'storage.googleapis.com'],
    ['localhost', 'localhost'],
  ])('%s stands for %s', (certified, name) => expect(dnsNameCovers(certified, name)).toBe(true));

  it.each([
    ['*.googleapis.com', 'googleapis.com'],
    ['*.googleapis.com', 'a.b.googleapis.com'],
    ['*.googleapis.com', 'evil.com'],
    ['*.googleapis.com', 'storage.googleapis.com.evil.com'],
    ['*', 'localhost'],
    ['*', 'a.com'],
    ['*.*.com', 'a.googleapis.com'],
    ['s*o*.googleapis.com', 'storage.googleapis.com'],
    ['storage.*.com', 'storage.googleapis.com'],
    ['storages*.googleapis.com', 'storage.googleapis.com'],
    ['stora*rage.googleapis.com', 'storage.googleapis.com'],
    ['xn--a*.googleapis.com', 'xn--abc.googleapis.com'],
    ['', 'a.com'],
  ])('%s does not stand for %s', (certified, name) => expect(dnsNameCovers(certified, name)).toBe(false));
});
