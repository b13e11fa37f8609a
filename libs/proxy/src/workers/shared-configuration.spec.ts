import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { packAny, TYPE_URL, type XdsResource, type XdsUpdate, xdsRegistry } from '@mizzen/xds-api';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { forWorkers } from './shared-configuration.ts';

function listener(name: string, address: JsonValue): XdsResource {
  return { name, version: '1', body: packAny(ListenerSchema, fromJson(ListenerSchema, { name, address }, { registry: xdsRegistry })) };
}

const at = (port: number): JsonValue => ({ socket_address: { address: '127.0.0.1', port_value: port } });

function update(upserts: readonly XdsResource[]): XdsUpdate {
  return { typeUrl: TYPE_URL.listener, version: '1', isWholeState: true, upserts, removed: [] };
}

describe('forWorkers', () => {
  it('leaves in force what was refused: further event loops are not told of it, and not that it is gone', () => {
    const given = update([listener('good', at(1000)), listener('bad', at(1001))]);
    const told = forWorkers(given, { rejections: [{ name: 'bad', reason: 'no' }], removed: ['old'] });
    expect(told.upserts.map(({ name }) => name)).toEqual(['good']);
    expect([told.isWholeState, told.removed]).toEqual([false, ['old']]);
  });

  it('takes away a listener that only the first event loop can have now', () => {
    const given = update([listener('socket', { pipe: { path: '/tmp/a' } }), listener('any-port', at(0)), listener('good', at(1000))]);
    const told = forWorkers(given, { rejections: [], removed: [] });
    expect(told.upserts.map(({ name }) => name)).toEqual(['good']);
    expect(told.removed).toEqual(['socket', 'any-port']);
  });
});
