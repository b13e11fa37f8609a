import { describe, expect, it } from '@jest/globals';
import { TYPE_URL, type XdsSubscription, type XdsUpdate } from '@mizzen/xds-api';
import { createLocalConsumer } from './local-consumer.ts';
import type { PortReservation } from './port-reservation.ts';
import { RecordingProxy } from './testing.ts';

function update(typeUrl: string, ...names: string[]): XdsUpdate {
  const body = { $typeName: 'google.protobuf.Any', typeUrl, value: new Uint8Array() } as const;
  return { typeUrl, version: '1', upserts: names.map((name) => ({ name, version: '1', body })), removed: [], isWholeState: false };
}

describe('the consumer between xDS client and proxy', () => {
  function setUp(): {
    proxy: RecordingProxy;
    log: string[];
    taken: number[][];
    wanted: string[][];
    consumer: ReturnType<typeof createLocalConsumer>;
  } {
    const proxy = new RecordingProxy();
    const log: string[] = [];
    const taken: number[][] = [];
    const wanted: string[][] = [];
    const reservation = (port: number): PortReservation => ({
      host: '127.0.0.1',
      port,
      isAnyPort: true,
      release: () => void log.push(`release ${port}`),
      forwardCallers: () => void log.push(`forward ${port}`),
      dropCallers: () => void log.push(`drop ${port}`),
    });
    const reservations = [reservation(1001), reservation(1002)];
    const apply = proxy.apply.bind(proxy);
    proxy.apply = (given) => {
      log.push(`apply ${given.upserts.map(({ name }) => name).join()}`);
      return apply(given);
    };
    const consumer = createLocalConsumer({
      inner: proxy,
      reservations: () => reservations,
      onListeners: () => undefined,
      onSecretsWanted: (names) => void wanted.push([...names]),
      onPortsTaken: (ports) => void taken.push(ports.map(({ port }) => port)),
    });
    return { proxy, log, taken, wanted, consumer };
  }

  it('lets go of exactly the ports whose listeners arrive, right before they do', () => {
    const { log, consumer, taken } = setUp();
    consumer.apply(update(TYPE_URL.cluster, '127.0.0.1_1001'));
    consumer.apply(update(TYPE_URL.listener, '127.0.0.1_1002', '0.0.0.0_80'));
    expect(log).toEqual(['apply 127.0.0.1_1001', 'release 1002', 'apply 127.0.0.1_1002,0.0.0.0_80', 'forward 1002']);
    expect(taken).toEqual([]);
  });

  it('tells a port that was taken from a listener that is wrong for another reason', () => {
    const { proxy, consumer, taken, log } = setUp();
    proxy.reject = () => [
      { name: '127.0.0.1_1001', reason: 'cannot bind 127.0.0.1:1001: address already in use' },
      { name: '127.0.0.1_1002', reason: 'filter_chains: a listener needs a filter chain' },
    ];
    const rejections = consumer.apply(update(TYPE_URL.listener, '127.0.0.1_1001', '127.0.0.1_1002'));
    expect(rejections).toHaveLength(2);
    expect(taken).toEqual([[1001]]);
    expect(log.slice(-2)).toEqual(['drop 1001', 'forward 1002']);
  });

  it('asks the control plane only for secrets that the agent does not give itself', () => {
    const { proxy, consumer, wanted } = setUp();
    const names = new Set(['default', 'ROOTCA', 'file-cert:/a.crt~/a.key', 'file-root:/ca.crt', 'kubernetes://bookinfo']);
    proxy.wanted = [
      { typeUrl: TYPE_URL.listener, names: '*' },
      { typeUrl: TYPE_URL.secret, names },
    ];
    const changes: XdsSubscription[] = [];
    const { current } = consumer.subscriptions((subscription) => void changes.push(subscription));
    expect(current).toEqual([
      { typeUrl: TYPE_URL.listener, names: '*' },
      { typeUrl: TYPE_URL.secret, names: new Set(['kubernetes://bookinfo']) },
    ]);
    expect(wanted).toEqual([[...names]]);
    proxy.want({ typeUrl: TYPE_URL.secret, names: new Set(['default', 'kubernetes://other']) });
    expect(changes).toEqual([{ typeUrl: TYPE_URL.secret, names: new Set(['kubernetes://other']) }]);
  });
});
