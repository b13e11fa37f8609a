import type { ControlPlane } from '@mizzen/control-plane';
import { Watchable } from '@mizzen/core';
import type { Proxy as DataPlane } from '@mizzen/proxy';
import { TYPE_URL, type XdsSubscription } from '@mizzen/xds-api';
import type { ConnectionStatus } from '@mizzen/xds-server';

/** A proxy whose stream the control plane has open, seen from its own side. */
export interface SettlingProxy {
  readonly nodeId: string;
  /** What it is subscribed to now, by type URL. */
  readonly subscriptions: Watchable<ReadonlyMap<string, XdsSubscription>>;
  readonly proxy: Pick<DataPlane, 'warmingCount'>;
}

/** Follows what a proxy subscribes to. Call it before anybody else asks the proxy for its subscriptions. */
export function watchSubscriptions(proxy: DataPlane): Watchable<ReadonlyMap<string, XdsSubscription>> {
  const current = new Watchable<ReadonlyMap<string, XdsSubscription>>(new Map());
  const add = (subscription: XdsSubscription): void => current.set(new Map(current.value).set(subscription.typeUrl, subscription));
  const original = proxy.subscriptions.bind(proxy);
  proxy.subscriptions = (onChange) => {
    const answer = original((subscription) => {
      add(subscription);
      onChange(subscription);
    });
    for (const subscription of answer.current) add(subscription);
    return answer;
  };
  return current;
}

export interface Settling {
  readonly controlPlane: ControlPlane;
  /** Proxies that must be connected. Others may be. */
  readonly proxies: readonly SettlingProxy[];
  /** Nodes that must not be connected any more. */
  readonly goneNodeIds: ReadonlySet<string>;
  readonly timeoutMs: number;
}

/**
 * Resolves once every change is published, and every connected proxy has answered everything of the newest revision for everything that
 * it subscribes to and has put it in force. A rejection is an answer. Rejects after `timeoutMs` with what is missing.
 */
export function untilSettled(settling: Settling): Promise<void> {
  const { controlPlane, proxies, timeoutMs } = settling;
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (whatIsMissing(settling).length > 0) return;
      end();
      resolve();
    };
    const stops = [
      controlPlane.publication.watch(look),
      controlPlane.server.activity.watch(look),
      ...proxies.flatMap(({ subscriptions, proxy }) => [subscriptions.watch(look), proxy.warmingCount.watch(look)]),
    ];
    const end = (): void => {
      clearTimeout(timer);
      for (const stop of stops) stop();
    };
    const timer = setTimeout(() => {
      end();
      reject(new Error(`the mesh has not settled within ${timeoutMs} ms: ${whatIsMissing(settling).join('; ')}`));
    }, timeoutMs);
    look();
  });
}

function whatIsMissing({ controlPlane, proxies, goneNodeIds }: Settling): string[] {
  const { revision, isPending } = controlPlane.publication.value;
  const connections = controlPlane.server.status();
  return [
    ...(isPending ? ['a change is not published yet'] : []),
    ...connections.flatMap(({ node, answeredRevision }) => {
      if (goneNodeIds.has(node.id)) return [`${node.id} is still connected`];
      return answeredRevision === revision ? [] : [`${node.id} has answered revision ${answeredRevision ?? 'none'} of ${revision}`];
    }),
    ...proxies.flatMap((proxy) => {
      const connection = connections.findLast(({ node }) => node.id === proxy.nodeId);
      return connection ? missingOf(proxy, connection) : [`${proxy.nodeId} is not connected`];
    }),
  ];
}

function missingOf({ nodeId, subscriptions, proxy }: SettlingProxy, { types }: ConnectionStatus): string[] {
  const warming = proxy.warmingCount.value;
  if (warming > 0) return [`${nodeId} has ${warming} listeners and clusters that are not in force yet`];
  return [...subscriptions.value.values()].flatMap(({ typeUrl, names }) => {
    const known = types.get(typeUrl)?.names;
    if (names === '*') return known === '*' ? [] : [`${nodeId} has not asked for ${typeUrl} yet`];
    const missing = [...names].filter((name) => isServed(typeUrl, name) && !(known !== undefined && known !== '*' && known.has(name)));
    return missing.length > 0 ? [`${nodeId} has not asked for ${missing.join(', ')} yet`] : [];
  });
}

/** The agent gives some secrets itself. */
function isServed(typeUrl: string, name: string): boolean {
  return typeUrl !== TYPE_URL.secret || name.startsWith('kubernetes://');
}
