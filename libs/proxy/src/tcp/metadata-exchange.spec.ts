import { describe, expect, it } from '@jest/globals';
import { encodePeerMetadata, type PeerMetadata } from '@mizzen/telemetry';
import fc from 'fast-check';
import { encodeMetadata, parseMetadata } from './metadata-exchange.ts';

const PEER: PeerMetadata = {
  workload: 'reviews-v1',
  namespace: 'default',
  clusterId: 'Kubernetes',
  canonicalService: 'reviews',
  canonicalRevision: 'v1',
  app: 'reviews',
  version: 'v1',
};
const bytes = encodeMetadata({ nodeId: 'sidecar~10.0.0.1~reviews', metadata: PEER, metadataHeader: encodePeerMetadata(PEER) });

describe('metadata exchange', () => {
  it('reads what it writes, however it is cut, and takes no byte that follows', () => {
    expect(bytes.subarray(0, 4)).toEqual(Buffer.from([0x3d, 0x23, 0x04, 0x67]));
    expect(parseMetadata(Buffer.concat([bytes, Buffer.from('more')]))).toEqual({ kind: 'found', peer: PEER, bytes: bytes.length });
    for (let length = 0; length < bytes.length; length++) expect(parseMetadata(bytes.subarray(0, length))).toEqual({ kind: 'incomplete' });
  });

  it('tells bytes of the connection itself from a header, and a header that cannot be', () => {
    expect(parseMetadata(Buffer.from('GET /'))).toEqual({ kind: 'absent' });
    const large = Buffer.from(bytes);
    large.writeUInt32BE(1 << 20, 4);
    expect(parseMetadata(large)).toEqual({ kind: 'invalid', reason: 'too_large' });
    const other = Buffer.from(bytes);
    other.fill(0xff, 8);
    expect(parseMetadata(other)).toEqual({ kind: 'invalid', reason: 'not_readable' });
  });

  it('never throws, and never takes more than there is', () => {
    const noise = fc.uint8Array({ maxLength: 100 }).map((tail) => Buffer.concat([bytes.subarray(0, 8), Buffer.from(tail)]));
    fc.assert(
      fc.property(noise, fc.nat(120), (input, length) => {
        if (input.length > 8) input.writeUInt32BE(length, 4);
        const parsed = parseMetadata(input);
        if (parsed.kind === 'found') expect(parsed.bytes).toBeLessThanOrEqual(input.length);
      }),
    );
  });
});
