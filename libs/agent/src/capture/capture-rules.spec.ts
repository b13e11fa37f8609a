import { describe, expect, it } from '@jest/globals';
import { type CaptureOptions, DEFAULT_CAPTURE } from './capture-options.ts';
import { buildCaptureRules } from './capture-rules.ts';
import type { IpFamily } from './rule.ts';

function linesOf(options: Partial<CaptureOptions>, family: IpFamily = 'ipv4'): readonly string[] {
  return buildCaptureRules({ ...DEFAULT_CAPTURE, ...options }, family).map(({ table, chain, match }) => `${table} ${chain} ${match}`);
}

describe('rules of capture', () => {
  it("are Istio's", () => {
    expect(linesOf({})).toEqual([
      'nat PREROUTING -p tcp -j ISTIO_INBOUND',
      'nat ISTIO_INBOUND -p tcp --dport 15008 -j RETURN',
      'nat ISTIO_INBOUND -p tcp --dport 15090 -j RETURN',
      'nat ISTIO_INBOUND -p tcp --dport 15021 -j RETURN',
      'nat ISTIO_INBOUND -p tcp --dport 15020 -j RETURN',
      'nat ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT',
      'nat OUTPUT -j ISTIO_OUTPUT',
      'nat ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN',
      'nat ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT',
      'nat ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT',
      'nat ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN',
      'nat ISTIO_OUTPUT -j ISTIO_REDIRECT',
      'nat ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001',
      'nat ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006',
    ]);
  });

  it('differ between the families only by addresses', () => {
    const asIpv4 = linesOf({}, 'ipv6').map((line) => line.replace('::6/128', '127.0.0.6/32').replace('::1/128', '127.0.0.1/32'));
    expect(asIpv4).toEqual(linesOf({}));
  });

  it('take ranges and servers of their own family', () => {
    const options = { outboundRanges: ['10.96.0.0/12', 'fd00::/8'], excludedOutboundRanges: ['10.96.0.1/32', 'fd00::1/128'] };
    expect(linesOf(options).filter((line) => / -d (10|fd)/.test(line))).toEqual([
      'nat ISTIO_OUTPUT -d 10.96.0.1/32 -j RETURN',
      'nat ISTIO_OUTPUT -d 10.96.0.0/12 -j ISTIO_REDIRECT',
    ]);
    expect(linesOf({ dnsServers: ['10.96.0.10'] }, 'ipv6').filter((line) => line.includes('OUTPUT_DNS'))).toEqual([]);
  });

  it('leave loopback to the proxy where a range asks for it', () => {
    expect(linesOf({ outboundRanges: ['127.0.0.0/8'] }).some((line) => line.includes('! --uid-owner'))).toBe(false);
  });

  it('send what virtual machines inside the workload send outbound, and nothing of theirs inbound', () => {
    const lines = linesOf({ virtualInterfaces: ['net1'], outboundRanges: ['10.96.0.0/12'] });
    expect(lines[0]).toBe('nat PREROUTING -i net1 -d 10.96.0.0/12 -j ISTIO_REDIRECT');
    expect(lines.indexOf('nat ISTIO_INBOUND -i net1 -j RETURN')).toBeGreaterThan(lines.indexOf('nat PREROUTING -p tcp -j ISTIO_INBOUND'));
  });

  it('keep questions of the workload and of the agent in zones of their own', () => {
    expect(linesOf({ dnsServers: ['10.96.0.10'] }).filter((line) => /DNS|raw|53/.test(line))).toEqual([
      'nat ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT',
      'nat ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT',
      'nat ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN',
      'nat ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS',
      'nat ISTIO_OUTPUT_DNS -p tcp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053',
      'nat ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053',
      'raw OUTPUT -j ISTIO_OUTPUT_DNS',
      'raw PREROUTING -j ISTIO_INBOUND',
      'raw ISTIO_OUTPUT_DNS ! -d 127.0.0.0/8 -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1',
      'raw ISTIO_OUTPUT_DNS ! -d 127.0.0.0/8 -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2',
      'raw ISTIO_OUTPUT_DNS ! -d 127.0.0.0/8 -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1',
      'raw ISTIO_OUTPUT_DNS ! -d 127.0.0.0/8 -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2',
      'raw ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j CT --zone 2',
      'raw ISTIO_INBOUND -p udp --sport 53 -s 10.96.0.10/32 -j CT --zone 1',
    ]);
  });

  it("have no zone for Docker's server", () => {
    expect(linesOf({ dnsServers: ['127.0.0.11'] }).filter((line) => line.startsWith('raw'))).toEqual([]);
  });
});
