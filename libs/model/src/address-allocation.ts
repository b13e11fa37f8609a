import { createHash } from 'node:crypto';
import { compareText } from './age.ts';
import type { Service } from './service.ts';

/** Addresses that only the mesh knows, for a service that has none. */
export interface AllocatedAddress {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** 240.240.0.0/16 and 2001:2::/48 without their first and last address. Source: istio pilot/pkg/controllers/ipallocate/ipallocate.go (1.32 dev). */
const SLOTS = 65_534;

const NO_ADDRESSES: ReadonlyMap<Service, AllocatedAddress> = new Map();

/**
 * An address for each service that asks for one. The name decides which, and where two names mean the same the older has it and the
 * younger takes the next that is free: so that an address does not change when other services come. Beyond 65,534 there is none.
 */
export function allocateAddresses(services: Iterable<Service>): ReadonlyMap<Service, AllocatedAddress> {
  const all = [...services];
  const asking = all.filter(({ isAddressAllocated }) => isAddressAllocated);
  if (asking.length === 0) return NO_ADDRESSES;
  const taken = new Set<number>(all.flatMap(({ addresses }) => addresses.flatMap((address) => slotOf(address) ?? [])));
  const allocated = new Map<Service, AllocatedAddress>();
  for (const service of asking.sort(byAge)) {
    if (taken.size >= SLOTS) break;
    let slot = preferredSlot(service);
    while (taken.has(slot)) slot = (slot % SLOTS) + 1;
    taken.add(slot);
    allocated.set(service, addressesOf(slot));
  }
  return allocated;
}

function byAge(a: Service, b: Service): number {
  return compareText(a.createdAt, b.createdAt) || compareText(a.namespace, b.namespace) || compareText(a.host, b.host);
}

/** In [1, SLOTS]. */
function preferredSlot({ namespace, host }: Service): number {
  return (createHash('sha256').update(`${namespace}/${host}`).digest().readUInt32BE(0) % SLOTS) + 1;
}

function addressesOf(slot: number): AllocatedAddress {
  return { ipv4: `240.240.${slot >> 8}.${slot & 0xff}`, ipv6: `2001:2::${slot.toString(16)}` };
}

/** The slot of an address that somebody wrote out of the range. */
function slotOf(address: string): number | undefined {
  const [, high, low] = /^240\.240\.(\d+)\.(\d+)$/.exec(address) ?? [];
  const slot = high === undefined || low === undefined ? 0 : Number(high) * 256 + Number(low);
  return slot > 0 && slot <= SLOTS ? slot : undefined;
}
