import { describe, expect, it } from '@jest/globals';
import { peerExchangeAlpn } from './metadata-exchange.ts';

describe('the metadata exchange of TCP', () => {
  it('is agreed to by proxies that have its filter alone: another would take the metadata for bytes of the connection', () => {
    expect(peerExchangeAlpn('mizzen')).toEqual(['istio-peer-exchange']);
    expect(peerExchangeAlpn('envoy')).toEqual([]);
  });
});
