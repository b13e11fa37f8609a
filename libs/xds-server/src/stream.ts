import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import { type Clock, errorMessage, type Logger } from '@mizzen/core';
import { HEALTH_TYPE_URL } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import { Connection, type ConnectionContext } from './connection.ts';
import { DeltaSubscription } from './delta-subscription.ts';
import type { ConnectedNode } from './events.ts';
import type { OutgoingResponse } from './response.ts';
import { SotwSubscription } from './sotw-subscription.ts';

/** Who may have which configuration: `node` is what the client says of itself, the certificate is what it proves. */
export type Authorize = (connected: ConnectedNode) => { isAllowed: true } | { isAllowed: false; reason: string };

/** What the peer of a stream proved itself to be, from its certificate. */
export type Identify = (call: { getAuthContext(): AuthContext }) => string | undefined;

/** What is particular to one address that the server listens on. */
export interface StreamOrigin {
  readonly isSecure: boolean;
  readonly identify: Identify;
}

type AuthContext = ReturnType<ServerDuplexStream<unknown, unknown>['getAuthContext']>;

export interface StreamContext extends ConnectionContext {
  readonly authorize: Authorize;
  readonly origin: StreamOrigin;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly newConnectionId: () => string;
  readonly opened: (connection: Connection, end: (reason: string) => void) => void;
  readonly closed: (connection: Connection) => void;
}

type Request = DiscoveryRequest | DeltaDiscoveryRequest;
type AnswerKind = 'ack' | 'nack' | 'stale' | 'request';

/** A client that subscribes to more names than any mesh has is stopped before it fills the memory. */
const MAX_NAMES = 200_000;
/** And one that asks for more types than xDS has: each is looked at for every push. */
const MAX_TYPES = 100;

/** How the two protocols differ on the receiving side. */
export interface Protocol<R extends Request> {
  readonly name: 'delta' | 'sotw';
  receive(connection: Connection, request: R, at: number): AnswerKind;
}

export const deltaProtocol: Protocol<DeltaDiscoveryRequest> = {
  name: 'delta',
  receive(connection, request, at) {
    const subscription = connection.subscription(request.typeUrl) ?? new DeltaSubscription(request.typeUrl);
    connection.addSubscription(subscription);
    return (subscription as DeltaSubscription).receive(request, at);
  },
};

export const sotwProtocol: Protocol<DiscoveryRequest> = {
  name: 'sotw',
  receive(connection, request, at) {
    const subscription = connection.subscription(request.typeUrl) ?? new SotwSubscription(request.typeUrl);
    connection.addSubscription(subscription);
    return (subscription as SotwSubscription).receive(request, at);
  },
};

/** Serves one stream until it ends, by either side. */
export function serveStream<R extends Request>(
  call: ServerDuplexStream<R, OutgoingResponse>,
  protocol: Protocol<R>,
  context: StreamContext,
): void {
  let connection: Connection | undefined;
  let isOver = false;

  const over = (isGraceful: boolean): void => {
    if (isOver) return;
    isOver = true;
    if (!connection) return;
    connection.close();
    context.closed(connection);
    context.events.onDisconnect?.(connection.connected, { isGraceful });
    context.touched();
  };
  const fail = (code: status, details: string): void => {
    over(false);
    call.emit('error', { code, details });
  };

  call.on('data', (request: R) => {
    if (isOver) return;
    try {
      if (!connection) {
        const refusal = accept(request);
        if (refusal) return fail(refusal.code, refusal.reason);
      }
      if (connection) take(connection, request);
    } catch (thrown) {
      context.logger.error({ err: thrown, peer: call.getPeer() }, 'xds request failed');
      fail(status.INTERNAL, errorMessage(thrown));
    }
  });
  call.on('end', () => {
    // A stream that was reset or whose connection broke also ends its reading side; that it was is known a moment later.
    setImmediate(() => {
      over(!call.cancelled);
      call.end();
    });
  });
  call.on('cancelled', () => over(false));
  call.on('error', () => over(false));

  function accept(request: R): { code: status; reason: string } | undefined {
    if (!request.node || request.node.id === '') {
      return { code: status.INVALID_ARGUMENT, reason: 'the first request of a stream must carry the node with its id' };
    }
    const connected = connectedNode(request.node);
    const decision = context.authorize(connected);
    if (!decision.isAllowed) {
      context.logger.warn({ node: request.node.id, peer: connected.address, reason: decision.reason }, 'xds client refused');
      return { code: status.PERMISSION_DENIED, reason: decision.reason };
    }
    connection = new Connection(connected, protocol.name, context, (response, done) => void call.write(response, done));
    context.opened(connection, (reason) => {
      over(false);
      call.emit('error', { code: status.UNAVAILABLE, details: reason });
    });
    context.events.onConnect?.(connected);
    return undefined;
  }

  function take(open: Connection, request: R): void {
    if (request.typeUrl === '') {
      fail(status.INVALID_ARGUMENT, 'a request must say the type_url that it is about');
      return;
    }
    if (request.typeUrl === HEALTH_TYPE_URL) {
      const { errorDetail } = request;
      context.events.onHealth?.(open.connected, { isHealthy: errorDetail === undefined, reason: errorDetail?.message ?? '' });
      return;
    }
    if (open.subscriptionCount >= MAX_TYPES && open.subscription(request.typeUrl) === undefined) {
      fail(status.RESOURCE_EXHAUSTED, `more than ${MAX_TYPES} resource types on one stream`);
      return;
    }
    const kind = protocol.receive(open, request, context.clock.now());
    const subscription = open.subscription(request.typeUrl);
    if (!subscription) return;
    if (subscription.nameCount > MAX_NAMES) {
      fail(status.RESOURCE_EXHAUSTED, `more than ${MAX_NAMES} names of ${request.typeUrl}`);
      return;
    }
    if (kind === 'nack') {
      context.logger.warn(
        { node: open.connected.node.id, typeUrl: request.typeUrl, reason: subscription.last?.rejection?.reason },
        'proxy rejected its configuration',
      );
    }
    open.received(subscription, kind);
  }

  function connectedNode(node: Node): ConnectedNode {
    const { isSecure, identify } = context.origin;
    const identity = isSecure ? identify(call) : undefined;
    return { connectionId: context.newConnectionId(), node, address: call.getPeer(), connectedAt: context.clock.now(), isSecure, identity };
  }
}
