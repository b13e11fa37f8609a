import type { Clock, Logger, Timer } from '@mizzen/core';
import { compileFilterChainMatch, Field, formatRejections, type RouteTable } from '@mizzen/matching';
import type { Listener } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { ConfigError, within } from '../config/config-error.ts';
import { addressText } from '../config/values.ts';
import type { DownstreamConnection, ProxyContext } from '../contract.ts';
import type { InheritedListeners, ListeningDescriptor } from '../hot-restart/inherited-listeners.ts';
import type { ObserverFactory } from '../observe/stream-observers.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import { ConnectionLimits } from './connection-limits.ts';
import { compileFilterChain, filterChainKey, type LiveFilterChain } from './filter-chain.ts';
import { LiveListener } from './listener.ts';
import { compileListener, type ListenerConfig, listenerEnvelopeKey } from './listener-config.ts';
import type { ListenerVersion } from './listener-version.ts';
import { ListenersByAddress } from './listeners-by-address.ts';

// As for clusters: what a listener waits for may never come. Source: envoy docs, ConfigSource.initial_fetch_timeout.
const WARMING_TIMEOUT_MS = 15_000;

export interface ListenerManagerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly proxy: ProxyContext;
  readonly secrets: SecretStore;
  readonly observers: ObserverFactory;
  /** What the process before this one listened on. */
  readonly inherited?: InheritedListeners | undefined;
  /** Other event loops of this process listen on the same ports. */
  readonly sharesPorts?: 'first' | 'further' | undefined;
  /** What came by RDS. */
  readonly routeTables: { get(name: string): RouteTable | undefined };
  /** Without it there is none. */
  readonly limits?: ConnectionLimits;
  /** Called when the set of listeners or of names that they need may have changed. */
  readonly onChange: () => void;
}

interface Entry {
  readonly live: LiveListener;
  warming: { readonly version: ListenerVersion; readonly timeout: Timer } | undefined;
}

/** All listeners by name. */
export class ListenerManager {
  readonly #options: ListenerManagerOptions;
  readonly #entries = new Map<string, Entry>();
  /** Listeners that accept no more, and chains that were replaced, until their last connection is gone. */
  readonly #draining = new Set<LiveListener>();
  readonly #drainingChains = new Set<LiveFilterChain>();
  readonly #byAddress = new ListenersByAddress();
  readonly #unlimited = new ConnectionLimits({});
  #connectionCount = 0;

  constructor(options: ListenerManagerOptions) {
    this.#options = options;
  }

  /** Compiles and binds; on any fault nothing has changed. Throws ConfigError. */
  upsert(message: Listener): void {
    const { clock, proxy } = this.#options;
    const config = compileListener(message, { clock, stats: proxy.stats, share: proxy.share });
    const { name } = config.info;
    const known = this.#entries.get(name);
    this.#byAddress.refuseTaken(config, known?.live);
    const before = known?.warming?.version ?? known?.live.version;
    const version = this.#compile(message, config, before);
    const entry = known !== undefined && this.#keepsAddress(known, config) ? known : this.#bind(config);
    if (known !== undefined && entry !== known) this.#retire(known);
    this.#entries.set(name, entry);
    this.#byAddress.add(config, entry.live);
    this.#warm(entry, version);
    this.#options.onChange();
  }

  remove(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#retire(entry);
    this.#options.onChange();
  }

  /** Puts versions in force whose routes and secrets have all arrived. */
  promoteWarm(): void {
    for (const entry of this.#entries.values()) {
      if (entry.warming !== undefined && this.#isReady(entry.warming.version)) this.#activate(entry, entry.warming.version);
    }
  }

  /** The sockets that listeners of this event loop listen on. */
  listeningDescriptors(): readonly ListeningDescriptor[] {
    return [...this.#entries.values()].flatMap(({ live }) => live.descriptors);
  }

  get warmingCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.warming !== undefined) count++;
    return count;
  }

  get connectionCount(): number {
    return this.#connectionCount;
  }

  /** Route configurations that listeners wait for or use. */
  routeNames(): ReadonlySet<string> {
    return new Set(this.#chains().flatMap((chain) => chain.routeConfigName ?? []));
  }

  /** Secrets that the listeners' TLS names. */
  secretNames(): ReadonlySet<string> {
    return new Set(this.#chains().flatMap((chain) => chain.tls?.context.secretNames ?? []));
  }

  list(): readonly { readonly name: string; readonly live: LiveListener; readonly isWarming: boolean }[] {
    return [...this.#entries].map(([name, { live, warming }]) => ({ name, live, isWarming: warming !== undefined }));
  }

  /** Listeners that were removed or replaced and still have connections. */
  get drainingCount(): number {
    return this.#draining.size;
  }

  handToInternalListener(name: string, connection: DownstreamConnection): boolean {
    const live = this.#entries.get(name)?.live;
    return live?.version?.config.isInternal === true && live.takeOver(connection);
  }

  /** Tells connections to end when their exchange does; new ones are still taken, and told the same. */
  drain(options: { readonly inboundOnly: boolean }): void {
    for (const { live } of this.#entries.values()) {
      if (options.inboundOnly && live.version?.config.info.direction !== 'inbound') continue;
      for (const chain of chainsOf(live.version)) chain.filter.drain();
    }
  }

  stopAccepting(options: { readonly inboundOnly: boolean }): void {
    for (const { live } of this.#entries.values()) {
      if (!options.inboundOnly || live.version?.config.info.direction === 'inbound') live.stopAccepting();
    }
  }

  /** Connections of all listeners, those that were removed included. */
  activeConnections(options: { readonly inboundOnly: boolean }): number {
    const lives = [...[...this.#entries.values()].map((entry) => entry.live), ...this.#draining].filter(
      (live) => !options.inboundOnly || live.version?.config.info.direction === 'inbound',
    );
    return lives.reduce((sum, live) => sum + live.openSockets, 0);
  }

  /** Ends what is left of connections, those of listeners that were removed included. */
  destroyConnections(): void {
    for (const { live } of this.#entries.values()) live.destroyConnections();
    for (const live of this.#draining) live.destroyConnections();
  }

  close(): void {
    for (const name of [...this.#entries.keys()]) this.remove(name);
    for (const live of this.#draining) live.destroyConnections();
    this.#draining.clear();
  }

  #compile(message: Listener, config: ListenerConfig, before: ListenerVersion | undefined): ListenerVersion {
    const envelopeKey = listenerEnvelopeKey(message);
    const known = new Map(chainsOf(before).map((chain) => [chain.key, chain]));
    const made: LiveFilterChain[] = [];
    try {
      const compile = (chain: Listener['filterChains'][number], path: string): LiveFilterChain => {
        const key = filterChainKey(chain, envelopeKey);
        const kept = known.get(key);
        if (kept !== undefined) return kept;
        const compiled = within(path, () => compileFilterChain(chain, { ...this.#options, listener: config.info, key }));
        made.push(compiled);
        return compiled;
      };
      const chains = message.filterChains.map((chain, index) => compile(chain, `filter_chains[${index}]`));
      const defaultChain =
        message.defaultFilterChain === undefined ? undefined : compile(message.defaultFilterChain, 'default_filter_chain');
      if (chains.length === 0 && defaultChain === undefined) throw new ConfigError('filter_chains', 'a listener needs a filter chain');
      const matched = message.filterChains.map((chain, index) => ({
        match: chain.filterChainMatch,
        chain: chains[index] as LiveFilterChain,
      }));
      const { table, rejections } = compileFilterChainMatch(matched, new Field('', []));
      if (table === undefined) throw new ConfigError('', formatRejections(rejections));
      const onUnmatched = this.#options.observers.forUnmatched(message.accessLog);
      return { config, table, chains, defaultChain, onUnmatched };
    } catch (thrown) {
      for (const chain of made) chain.filter.drain();
      throw thrown;
    }
  }

  #keepsAddress(entry: Entry, config: ListenerConfig): boolean {
    const before = (entry.live.version ?? entry.warming?.version)?.config;
    return (
      before !== undefined &&
      before.isInternal === config.isInternal &&
      before.isBound === config.isBound &&
      before.isDualStack === config.isDualStack &&
      addressesKey(before) === addressesKey(config)
    );
  }

  #bind(config: ListenerConfig): Entry {
    const live = new LiveListener({
      ...this.#options,
      nextConnectionId: () => ++this.#connectionCount,
      limits: this.#options.limits ?? this.#unlimited,
      listenerAt: (destination) => this.#byAddress.find(destination),
    });
    if (config.isBound) live.bind(config);
    return { live, warming: undefined };
  }

  #warm(entry: Entry, version: ListenerVersion): void {
    this.#stopWarming(entry, version);
    if (this.#isReady(version)) {
      this.#activate(entry, version);
      return;
    }
    const timeout = this.#options.clock.after(WARMING_TIMEOUT_MS, () => {
      this.#options.logger.warn({ listener: version.config.info.name }, 'listener is used although its routes or secrets have not arrived');
      this.#activate(entry, version);
      this.#options.onChange();
    });
    entry.warming = { version, timeout };
  }

  #activate(entry: Entry, version: ListenerVersion): void {
    entry.warming?.timeout.cancel();
    entry.warming = undefined;
    const before = entry.live.version;
    entry.live.use(version);
    this.#drainReplaced(before, version);
  }

  #isReady(version: ListenerVersion): boolean {
    return chainsOf(version).every(
      (chain) =>
        (chain.routeConfigName === undefined || this.#options.routeTables.get(chain.routeConfigName) !== undefined) &&
        (chain.tls?.context.isReady ?? true),
    );
  }

  #stopWarming(entry: Entry, next: ListenerVersion | undefined): void {
    if (entry.warming === undefined) return;
    entry.warming.timeout.cancel();
    const kept = new Set([...chainsOf(next), ...chainsOf(entry.live.version)]);
    for (const chain of chainsOf(entry.warming.version)) if (!kept.has(chain)) chain.filter.drain();
    entry.warming = undefined;
  }

  #drainReplaced(before: ListenerVersion | undefined, next: ListenerVersion | undefined): void {
    const kept = new Set(chainsOf(next));
    for (const chain of chainsOf(before)) {
      if (kept.has(chain)) continue;
      chain.filter.drain();
      if (chain.filter.activeConnections > 0) this.#drainingChains.add(chain);
    }
    for (const chain of this.#drainingChains) if (chain.filter.activeConnections === 0) this.#drainingChains.delete(chain);
  }

  #retire(entry: Entry): void {
    this.#stopWarming(entry, undefined);
    entry.live.stopAccepting();
    this.#byAddress.remove(entry.live);
    this.#drainReplaced(entry.live.version, undefined);
    for (const live of this.#draining) if (live.openSockets === 0) this.#draining.delete(live);
    if (entry.live.openSockets > 0) this.#draining.add(entry.live);
  }

  #chains(): readonly LiveFilterChain[] {
    return [...this.#entries.values()].flatMap(({ live, warming }) => [...chainsOf(live.version), ...chainsOf(warming?.version)]);
  }
}

function chainsOf(version: ListenerVersion | undefined): readonly LiveFilterChain[] {
  if (version === undefined) return [];
  return version.defaultChain === undefined ? version.chains : [...version.chains, version.defaultChain];
}

function addressesKey({ addresses }: ListenerConfig): string {
  return addresses.map(addressText).join(' ');
}
