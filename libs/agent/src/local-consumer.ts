import { TYPE_URL, type XdsConsumer, type XdsRejection, type XdsSubscription, type XdsUpdate } from '@mizzen/xds-api';
import { isFileSecret } from './file-secrets.ts';
import type { PortReservation } from './port-reservation.ts';
import { SECRET } from './secret-messages.ts';

export interface LocalConsumerOptions {
  /** The proxy. */
  readonly inner: XdsConsumer;
  /** The ports that are held for listeners to come. */
  readonly reservations: () => readonly PortReservation[];
  /** Called with those that somebody else took in the moment of the change. */
  readonly onPortsTaken: (taken: readonly PortReservation[]) => void;
  /** Called with every change of listeners and what the proxy refused of it. */
  readonly onListeners: (update: XdsUpdate, rejections: readonly XdsRejection[]) => void;
  /** Called with the names of all secrets that the proxy wants. */
  readonly onSecretsWanted: (names: ReadonlySet<string>) => void;
  /** Takes the name table, which is the agent's and not the proxy's; undefined: it is not asked for. */
  readonly onNames?: ((update: XdsUpdate) => readonly XdsRejection[]) | undefined;
}

const NAMES: XdsSubscription = { typeUrl: TYPE_URL.nameTable, names: '*' };

/**
 * Stands between the xDS client and the proxy for the three things that are the agent's own affair:
 * secrets that it gives itself are not asked of the control plane, a port that it holds is let go right before the listener on it arrives,
 * which is then given those who called too early, and the names of the mesh are for the DNS proxy.
 */
export function createLocalConsumer({
  inner,
  reservations,
  onListeners,
  onPortsTaken,
  onSecretsWanted,
  onNames,
}: LocalConsumerOptions): XdsConsumer {
  return {
    apply(update) {
      if (update.typeUrl === TYPE_URL.nameTable) return onNames?.(update) ?? [];
      if (update.typeUrl !== TYPE_URL.listener) return inner.apply(update);
      const released = releaseFor(update, reservations());
      const rejections = inner.apply(update);
      onListeners(update, rejections);
      const taken = released.filter((reservation) => rejections.some((rejection) => isTaken(rejection, reservation)));
      for (const reservation of released) {
        if (taken.includes(reservation)) reservation.dropCallers();
        else reservation.forwardCallers();
      }
      if (taken.length > 0) onPortsTaken(taken);
      return rejections;
    },
    subscriptions(onChange) {
      const withoutOwn = (subscription: XdsSubscription): XdsSubscription => {
        if (subscription.typeUrl !== TYPE_URL.secret || subscription.names === '*') return subscription;
        onSecretsWanted(subscription.names);
        return { ...subscription, names: new Set([...subscription.names].filter((name) => !isOwnSecret(name))) };
      };
      const { current, stop } = inner.subscriptions((subscription) => onChange(withoutOwn(subscription)));
      return { current: [...current.map(withoutOwn), ...(onNames ? [NAMES] : [])], stop };
    },
  };
}

function isOwnSecret(name: string): boolean {
  return name === SECRET.svid || name === SECRET.roots || isFileSecret(name);
}

/** Listeners are named after where they are bound. */
export function listenerNameOf({ host, port }: PortReservation): string {
  return `${host}_${port}`;
}

function releaseFor(update: XdsUpdate, reservations: readonly PortReservation[]): PortReservation[] {
  const names = new Set(update.upserts.map(({ name }) => name));
  const released = reservations.filter((reservation) => names.has(listenerNameOf(reservation)));
  for (const reservation of released) reservation.release();
  return released;
}

function isTaken(rejection: XdsRejection, reservation: PortReservation): boolean {
  return rejection.name === listenerNameOf(reservation) && rejection.reason.includes('address already in use');
}
