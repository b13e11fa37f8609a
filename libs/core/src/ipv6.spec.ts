import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ipv6Bytes, ipv6Text } from './ipv6.ts';

describe('IPv6 addresses', () => {
  it('are written in one form, and read in any', () => {
    expect(
      ['::', '::1', '1::', 'fd00::1:0:0:1', '1:0:2:3:4:5:6:7', '::ffff:10.0.0.1'].map((text) => ipv6Text(Buffer.from(ipv6Bytes(text)), 0)),
    ).toEqual(['::', '::1', '1::', 'fd00::1:0:0:1', '1:0:2:3:4:5:6:7', '::ffff:a00:1']);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        expect([...ipv6Bytes(ipv6Text(Buffer.from(bytes), 0))]).toEqual([...bytes]);
      }),
    );
  });
});
