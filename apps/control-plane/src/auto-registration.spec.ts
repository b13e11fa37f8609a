import { describe, expect, it } from '@jest/globals';
import { silentLogger, systemClock } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';
import { parseProxyNode } from '@mizzen/model';
import { AutoRegistration, entryFromGroup, type RegistrationEvent, type RegistrationRequest } from './auto-registration.ts';
import { aNode } from './fixtures/running-control-plane.ts';

function aGroup(spec: Partial<Resource<'WorkloadGroup'>['spec']> = {}): Resource<'WorkloadGroup'> {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadGroup',
    metadata: {
      name: 'reviews-v1',
      namespace: 'default',
      labels: {},
      annotations: {},
      creationTimestamp: '2026-01-01T00:00:00Z',
      generation: 1,
    },
    spec: {
      metadata: { labels: { app: 'reviews', team: 'a' }, annotations: { note: 'x' } },
      template: { serviceAccount: 'reviews', ports: { http: 9080, admin: 9090 }, labels: { team: 'b' }, locality: 'r/z', weight: 3 },
      ...spec,
    },
  };
}

function aRequest(
  connectionId: string,
  about: { serviceAccount?: string; listenPort?: number; instance?: string } = {},
): RegistrationRequest {
  const { serviceAccount = 'reviews', listenPort = 40_123, instance = 'i-1' } = about;
  const proxy = parseProxyNode(aNode('reviews', { serviceAccount, listenPort, instance, group: 'reviews-v1' }));
  return { connectionId, proxy, address: '127.0.0.1', connectedAt: 0 };
}

function registrationOf(group: Resource<'WorkloadGroup'> | undefined = aGroup()): {
  registration: AutoRegistration;
  events: RegistrationEvent[];
} {
  const events: RegistrationEvent[] = [];
  const groups = () => new Map(group ? [['default/reviews-v1', group]] : []);
  const onEvent = (event: RegistrationEvent): void => void events.push(event);
  return { registration: new AutoRegistration({ clock: systemClock, logger: silentLogger, groups, graceMs: 60_000, onEvent }), events };
}

describe('auto-registration', () => {
  it('makes the entry from the template, with the ports on which this instance listens', () => {
    expect(entryFromGroup(aGroup(), aRequest('1'))).toEqual({
      apiVersion: 'networking.istio.io/v1',
      kind: 'WorkloadEntry',
      metadata: {
        name: 'reviews-v1-i-1',
        namespace: 'default',
        labels: { app: 'reviews', team: 'a' },
        annotations: {
          note: 'x',
          'istio.io/autoRegistrationGroup': 'reviews-v1',
          'istio.io/workloadController': 'istiod',
          'istio.io/connectedAt': '1970-01-01T00:00:00.000Z',
        },
        creationTimestamp: '1970-01-01T00:00:00.000Z',
        generation: 1,
      },
      spec: {
        serviceAccount: 'reviews',
        address: '127.0.0.1',
        ports: { http: 40_123, admin: 9090 },
        labels: { app: 'reviews', team: 'b', version: 'v1', 'security.istio.io/tlsMode': 'istio' },
        locality: 'r/z',
        weight: 3,
      },
    });
  });

  it('keeps the entry while one of several streams of the instance is open, and follows the newest', () => {
    const { registration } = registrationOf();
    registration.connected(aRequest('1'));
    registration.connected(aRequest('2', { listenPort: 40_999 }));
    registration.disconnected(aRequest('1'), { isGraceful: true });
    expect(registration.entries.value.map(({ spec }) => spec.ports?.['http'])).toEqual([40_999]);
    registration.disconnected(aRequest('2'), { isGraceful: true });
    expect(registration.entries.value).toEqual([]);
  });

  it('gives every instance of a group an entry of its own', () => {
    const { registration } = registrationOf();
    registration.connected(aRequest('1'));
    registration.connected(aRequest('2', { instance: 'i-2' }));
    expect(registration.entries.value.map(({ metadata }) => metadata.name)).toEqual(['reviews-v1-i-1', 'reviews-v1-i-2']);
  });

  it('says that a workload without an identity is not to be called with mutual TLS', () => {
    const request = aRequest('1');
    const proxy = { ...request.proxy, labels: { ...request.proxy.labels, 'security.istio.io/tlsMode': 'disabled' } };
    expect(entryFromGroup(aGroup(), { ...request, proxy }).spec.labels?.['security.istio.io/tlsMode']).toBe('disabled');
  });

  it('of a group with a probe makes an endpoint of a workload only while its agent says that it is well', () => {
    const { registration } = registrationOf(aGroup({ probe: { tcpSocket: { port: 9080 } } }));
    const names = (): string[] => registration.entries.value.map(({ metadata }) => metadata.name);
    registration.connected(aRequest('1'));
    expect(names()).toEqual([]);
    registration.reported(aRequest('1'), { isHealthy: true, reason: '' });
    expect(names()).toEqual(['reviews-v1-i-1']);
    registration.reported(aRequest('1'), { isHealthy: false, reason: 'the program answers 500' });
    expect(names()).toEqual([]);
    registration.reported(aRequest('1'), { isHealthy: true, reason: '' });
    // Its agent connects anew before the old stream is known to be gone, and has not told yet.
    registration.connected(aRequest('2'));
    registration.disconnected(aRequest('1'), { isGraceful: false });
    expect(names()).toEqual(['reviews-v1-i-1']);
    registration.reported(aRequest('3', { instance: 'i-3' }), { isHealthy: true, reason: '' });
    expect(names()).toEqual(['reviews-v1-i-1']);
  });

  it('counts what it does', () => {
    const { registration, events } = registrationOf();
    registration.connected(aRequest('1', { serviceAccount: 'ratings' }));
    registration.refresh();
    registration.disconnected(aRequest('1', { serviceAccount: 'ratings' }), { isGraceful: true });
    registration.disconnected(aRequest('1'), { isGraceful: true });
    expect(events).toEqual(['refused', 'unregistered']);
    registration.connected(aRequest('2'));
    expect(events.slice(2)).toEqual(['registered']);
  });
});
