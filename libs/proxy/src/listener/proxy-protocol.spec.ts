import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { ProxyHeader } from '../contract.ts';
import { encodeProxyHeader, type ParsedProxyHeader, parseProxyHeader } from './proxy-protocol.ts';

const REQUIRED = { allowsV1: true, allowsV2: true, allowsNone: false };
const OPTIONAL = { ...REQUIRED, allowsNone: true };

function parse(text: string | Buffer, rules = REQUIRED): ParsedProxyHeader {
  return parseProxyHeader(Buffer.from(text as string, 'latin1'), rules);
}

function ip(host: string, port: number): { kind: 'ip'; host: string; port: number } {
  return { kind: 'ip', host, port };
}

const port = fc.integer({ min: 0, max: 65_535 });
const ipv4 = fc.tuple(fc.integer({ min: 1, max: 223 }), fc.nat(255), fc.nat(255), fc.nat(255)).map((parts) => parts.join('.'));
const ipv6 = fc.constantFrom('::1', '2001:db8::5', 'fe80::1:2:3', '2001:db8:1:2:3:4:5:6');
const addresses = fc
  .oneof(fc.tuple(ipv4, ipv4, port, port), fc.tuple(ipv6, ipv6, port, port))
  .map(([source, destination, from, to]) => ({ source: ip(source, from), destination: ip(destination, to) }));
const tlvs = fc.array(fc.record({ type: fc.nat(255), value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) }), {
  maxLength: 5,
});

describe('PROXY protocol', () => {
  it('reads what it writes, however it is cut, and takes no byte that follows', () => {
    fc.assert(
      fc.property(addresses, tlvs, fc.constantFrom('v1' as const, 'v2' as const), (ends, list, version) => {
        const header: ProxyHeader = { addresses: ends, tlvs: version === 'v1' ? [] : list };
        const bytes = encodeProxyHeader(header, version);
        expect(parse(Buffer.concat([bytes, Buffer.from('GET / HTTP/1.1')]))).toEqual({
          kind: 'found',
          version,
          header,
          bytes: bytes.length,
        });
        for (let length = 0; length < bytes.length; length++) expect(parse(bytes.subarray(0, length))).toEqual({ kind: 'incomplete' });
      }),
    );
  });

  it('writes addresses of two families as IPv6, and none as the sender speaking for itself', () => {
    const mixed = { addresses: { source: ip('10.0.0.1', 1), destination: ip('2001:db8::5', 2) }, tlvs: [] };
    expect(encodeProxyHeader(mixed, 'v1').toString()).toBe('PROXY TCP6 ::ffff:10.0.0.1 2001:db8::5 1 2\r\n');
    expect(parse(encodeProxyHeader(mixed, 'v2'))).toMatchObject({ header: { addresses: { source: ip('::ffff:a00:1', 1) } } });
    const none = { addresses: undefined, tlvs: [] };
    expect(encodeProxyHeader(none, 'v1').toString()).toBe('PROXY UNKNOWN\r\n');
    expect(parse(encodeProxyHeader(none, 'v2'))).toEqual({ kind: 'found', version: 'v2', header: none, bytes: 16 });
  });

  it('leaves TLVs out that do not fit', () => {
    const big = { type: 1, value: Buffer.alloc(40_000) };
    const header = { addresses: { source: ip('10.0.0.1', 1), destination: ip('10.0.0.2', 2) }, tlvs: [big, { ...big, type: 2 }] };
    expect(parse(encodeProxyHeader(header, 'v2'))).toMatchObject({ header: { tlvs: [big] } });
  });

  it('takes UNKNOWN whatever follows it on the line', () => {
    const line = 'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n';
    expect(parse(line)).toEqual({ kind: 'found', version: 'v1', header: { addresses: undefined, tlvs: [] }, bytes: line.length });
  });

  it.each([
    ['a port above 65535', 'PROXY TCP4 10.0.0.1 10.0.0.2 70000 2\r\n'],
    ['a port with a leading zero', 'PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n'],
    ['a port with a sign', 'PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n'],
    ['an address of the other family', 'PROXY TCP4 ::1 10.0.0.2 1 2\r\n'],
    ['an address with a leading zero', 'PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n'],
    ['a multicast address', 'PROXY TCP4 224.0.0.1 10.0.0.2 1 2\r\n'],
    ['the wildcard address', 'PROXY TCP6 :: ::1 1 2\r\n'],
    ['two spaces', 'PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n'],
    ['another transport', 'PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n'],
    ['a missing port', 'PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n'],
    ['a line without an end', `PROXY TCP4 ${'1'.repeat(200)}`],
    ['LF alone', `PROXY TCP4 10.0.0.1 10.0.0.2 1 2\n${' '.repeat(100)}`],
    ['no header at all', 'GET / HTTP/1.1\r\n'],
  ])('refuses %s', (_, text) => {
    expect(parse(text).kind).toBe('invalid');
  });

  const v2 = (change: (bytes: Buffer) => void): Buffer => {
    const tlv = { type: 0xea, value: Buffer.from('vpce') };
    const bytes = encodeProxyHeader({ addresses: { source: ip('10.0.0.1', 1), destination: ip('10.0.0.2', 2) }, tlvs: [tlv] }, 'v2');
    change(bytes);
    return bytes;
  };

  it.each([
    ['version 1', (bytes: Buffer) => bytes.writeUInt8(0x11, 12)],
    ['command 2', (bytes: Buffer) => bytes.writeUInt8(0x22, 12)],
    ['a pipe', (bytes: Buffer) => bytes.writeUInt8(0x31, 13)],
    ['no family', (bytes: Buffer) => bytes.writeUInt8(0x00, 13)],
    ['no transport', (bytes: Buffer) => bytes.writeUInt8(0x10, 13)],
    ['a header shorter than its addresses', (bytes: Buffer) => bytes.writeUInt16BE(11, 14)],
    ['a TLV longer than the header', (bytes: Buffer) => bytes.writeUInt16BE(5, 29)],
    ['a TLV that ends before the header does', (bytes: Buffer) => bytes.writeUInt16BE(3, 29)],
    ['a cut TLV head', (bytes: Buffer) => bytes.writeUInt16BE(14, 14)],
  ])('refuses %s in version 2', (_, change) => {
    expect(parse(v2(change)).kind).toBe('invalid');
  });

  it('tells disallowed versions, and passes them through where a header is optional', () => {
    const noV1 = { ...REQUIRED, allowsV1: false };
    const noV2 = { ...REQUIRED, allowsV2: false };
    expect(parse('PROXY UNKNOWN\r\n', noV1)).toEqual({ kind: 'disallowed', version: 'v1' });
    expect(
      parse(
        v2(() => {}),
        noV2,
      ),
    ).toEqual({ kind: 'disallowed', version: 'v2' });
    expect(parse('PROXY UNKNOWN\r\n', { ...noV1, allowsNone: true })).toEqual({ kind: 'absent' });
    expect(parse('GET / HTTP/1.1\r\n', OPTIONAL)).toEqual({ kind: 'absent' });
    expect(parse('PRO', OPTIONAL)).toEqual({ kind: 'incomplete' });
    expect(parse('PRI * HTTP/2.0', OPTIONAL)).toEqual({ kind: 'absent' });
  });

  it('never throws, and never takes more than there is', () => {
    const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
    const seed = v2(() => {});
    const mutated = fc.tuple(fc.nat(seed.length - 1), fc.nat(255)).map(([at, value]) => {
      const bytes = Buffer.from(seed);
      bytes[at] = value;
      return bytes;
    });
    fc.assert(
      fc.property(
        fc.oneof(
          noise,
          mutated,
          noise.map((bytes) => Buffer.concat([seed.subarray(0, 16), bytes])),
        ),
        fc.boolean(),
        (bytes, isOptional) => {
          const parsed = parse(bytes, isOptional ? OPTIONAL : REQUIRED);
          if (parsed.kind === 'found') expect(parsed.bytes).toBeLessThanOrEqual(bytes.length);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
