import { describe, expect, it } from '@jest/globals';
import { allocateAddresses } from './address-allocation.ts';
import type { Service } from './service.ts';
import { kubernetesService } from './testing.ts';

function asking(host: string, createdAt: string, namespace = 'default'): Service {
  return { ...kubernetesService('x', {}), host, namespace, createdAt, addresses: [], isAddressAllocated: true };
}

function addressesOf(services: readonly Service[]): Map<string, string | undefined> {
  const allocated = allocateAddresses(services);
  return new Map(services.map((service) => [`${service.namespace}/${service.host}`, allocated.get(service)?.ipv4]));
}

describe('allocateAddresses', () => {
  // More than 300 of 65,534: some of their names mean the same address.
  const many = Array.from({ length: 2000 }, (_, index) =>
    asking(`s${index}.example.com`, new Date(Date.UTC(2024, 0, 1) + index).toISOString()),
  );

  it('gives every service an address of its own', () => {
    const addresses = [...addressesOf(many).values()];
    expect(new Set(addresses).size).toBe(many.length);
    expect(addresses.every((address) => /^240\.240\.\d{1,3}\.\d{1,3}$/.test(address ?? ''))).toBe(true);
  });

  it('gives the same addresses whatever the order, and keeps them when others come', () => {
    const few = many.slice(0, 1000);
    const before = addressesOf(few);
    const reversed = addressesOf([...many].reverse());
    expect(few.filter(({ namespace, host }) => reversed.get(`${namespace}/${host}`) !== before.get(`${namespace}/${host}`))).toEqual([]);
  });

  it('tells namespaces apart', () => {
    expect(new Set(addressesOf([asking('a.example.com', '1'), asking('a.example.com', '1', 'other')]).values()).size).toBe(2);
  });

  it('leaves out services with addresses, and addresses that somebody wrote', () => {
    const first = asking('a.example.com', '1');
    const own = allocateAddresses([first]).get(first)?.ipv4 ?? '';
    const taken: Service = { ...asking('b.example.com', '2'), isAddressAllocated: false, addresses: [own] };
    const allocated = allocateAddresses([first, taken]);
    expect(allocated.has(taken)).toBe(false);
    expect(allocated.get(first)?.ipv4).not.toBe(own);
  });

  it('has the same place in both families', () => {
    const service = asking('a.example.com', '1');
    const { ipv4 = '', ipv6 = '' } = allocateAddresses([service]).get(service) ?? {};
    const [high, low] = ipv4.split('.').slice(2).map(Number);
    expect(Number.parseInt(ipv6.slice('2001:2::'.length), 16)).toBe((high ?? 0) * 256 + (low ?? 0));
  });
});
