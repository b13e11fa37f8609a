import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { FilterChainMatchSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { type ConnectionView, compileFilterChainMatch } from './index.ts';

type Json = { readonly [field: string]: JsonValue };

const CONNECTION: ConnectionView = {
  destinationAddress: '10.0.0.1',
  destinationPort: 443,
  sourceAddress: '10.0.0.2',
  sourcePort: 5000,
  serverName: 'a.example.com',
  transportProtocol: 'tls',
  applicationProtocols: ['istio', 'h2'],
};

function compile(matches: readonly Json[]): ReturnType<typeof compileFilterChainMatch<number>> {
  return compileFilterChainMatch(matches.map((match, chain) => ({ match: fromJson(FilterChainMatchSchema, match), chain })));
}

function choose(matches: readonly Json[], connection: Partial<ConnectionView> = {}): number | undefined {
  return compile(matches).table?.find({ ...CONNECTION, ...connection });
}

describe('compileFilterChainMatch', () => {
  it.each<[what: string, matches: readonly Json[], connection: Partial<ConnectionView>, expected: number | undefined]>([
    ['a chain without a match takes all', [{}], {}, 0],
    ['no chain may match', [{ serverNames: ['b.example.com'] }], {}, undefined],
    ['an exact server name beats a wildcard', [{ serverNames: ['*.example.com'] }, { serverNames: ['a.example.com'] }], {}, 1],
    ['a longer wildcard beats a shorter one', [{ serverNames: ['*.com'] }, { serverNames: ['*.example.com'] }], {}, 1],
    ['a wildcard stands for any number of labels', [{ serverNames: ['*.com'] }], {}, 0],
    ['a wildcard does not take its own domain', [{ serverNames: ['*.example.com'] }], { serverName: 'example.com' }, undefined],
    ['server names know no case', [{ serverNames: ['A.Example.com'] }], { serverName: 'a.EXAMPLE.com' }, 0],
    ['the destination port comes before the server name', [{ serverNames: ['a.example.com'] }, { destinationPort: 443 }], {}, 1],
    [
      'there is no way back to a less specific step',
      [{ serverNames: ['a.example.com'] }, { destinationPort: 443, serverNames: ['other'] }],
      {},
      undefined,
    ],
    [
      'the longest range wins',
      [{ prefixRanges: [{ addressPrefix: '10.0.0.0', prefixLen: 8 }] }, { prefixRanges: [{ addressPrefix: '10.0.0.0', prefixLen: 24 }] }],
      {},
      1,
    ],
    ['a range for all is more than none', [{}, { prefixRanges: [{ addressPrefix: '0.0.0.0', prefixLen: 0 }] }], {}, 1],
    ['a range of IPv6 leaves IPv4', [{ prefixRanges: [{ addressPrefix: '::', prefixLen: 0 }] }, {}], {}, 1],
    ['TLS goes to the chain for TLS', [{ transportProtocol: 'raw_buffer' }, { transportProtocol: 'tls' }], {}, 1],
    [
      'plaintext goes to the chain for plaintext',
      [{ transportProtocol: 'raw_buffer' }, { transportProtocol: 'tls' }],
      { transportProtocol: 'raw_buffer' },
      0,
    ],
    [
      'the application protocol of the mesh',
      [{ transportProtocol: 'tls' }, { transportProtocol: 'tls', applicationProtocols: ['istio'] }],
      {},
      1,
    ],
    [
      'another application protocol',
      [{ transportProtocol: 'tls' }, { transportProtocol: 'tls', applicationProtocols: ['istio'] }],
      { applicationProtocols: ['http/1.1'] },
      0,
    ],
    ['the first protocol that the client names', [{ applicationProtocols: ['h2'] }, { applicationProtocols: ['istio'] }], {}, 1],
    [
      'connections from this machine',
      [{ sourceType: 'EXTERNAL' }, { sourceType: 'SAME_IP_OR_LOOPBACK' }],
      { sourceAddress: '127.0.0.1' },
      1,
    ],
    ['connections from elsewhere', [{ sourceType: 'EXTERNAL' }, { sourceType: 'SAME_IP_OR_LOOPBACK' }], {}, 0],
    ['the source range', [{}, { sourcePrefixRanges: [{ addressPrefix: '10.0.0.2', prefixLen: 32 }] }], {}, 1],
    ['the source port', [{}, { sourcePorts: [1, 5000] }], {}, 1],
  ])('%s', (_what, matches, connection, expected) => {
    expect(choose(matches, connection)).toBe(expected);
  });

  it.each<[matches: readonly Json[], expected: RegExp]>([
    [[{ serverNames: ['a.*.com'] }], /filter_chains\[0\]\.filter_chain_match\.server_names\[0\]/],
    [[{ prefixRanges: [{ addressPrefix: 'nonsense', prefixLen: 8 }] }], /filter_chains\[0\]\.filter_chain_match\.prefix_ranges\[0\]/],
    [[{ destinationPort: 1 }, { destinationPort: 1 }], /filter_chains\[1\]\.filter_chain_match/],
    [[{ addressSuffix: '1.2' }], /filter_chains\[0\]\.filter_chain_match\.address_suffix/],
  ])('rejects %j by its place', (matches, expected) => {
    const { table, rejections } = compile(matches);
    expect(table).toBeUndefined();
    expect(rejections[0]?.path).toMatch(expected);
  });
});
