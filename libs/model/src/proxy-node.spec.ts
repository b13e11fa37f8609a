import { describe, expect, it } from '@jest/globals';
import { parseProxyNode } from './proxy-node.ts';

describe('parseProxyNode', () => {
  it('reads what our agents announce', () => {
    const node = parseProxyNode({
      id: 'sidecar~127.0.0.1~reviews-v1-abc.default~default.svc.cluster.local',
      userAgentName: 'mizzen',
      metadata: {
        NAMESPACE: 'default',
        SERVICE_ACCOUNT: 'bookinfo-reviews',
        LABELS: { app: 'reviews', bad: 1 },
        AUTO_REGISTER_GROUP: 'reviews-v1',
        HTTP_PROXY_PORT: '34567',
        INBOUND: [{ port: 9080, bind: '127.0.0.1', listenPort: 40123, defaultEndpoint: 'unix:///x.sock' }, { port: 'nonsense' }, null],
        PORT_MAP: { '80': 8080, x: 1, '443': 0 },
      },
    });
    expect(node).toMatchObject({
      type: 'sidecar',
      client: 'mizzen',
      namespace: 'default',
      instanceName: 'reviews-v1-abc',
      labels: { app: 'reviews' },
      serviceAccount: 'bookinfo-reviews',
      autoRegisterGroup: 'reviews-v1',
      interceptionMode: 'NONE',
      httpProxyPort: 34567,
      inbound: [{ port: 9080, bind: '127.0.0.1', listenPort: 40123, defaultEndpoint: 'unix:///x.sock' }],
    });
    expect([...node.portMap]).toEqual([[80, 8080]]);
    expect(node.labels).toEqual({ app: 'reviews' });
  });

  it.each([
    { id: '' },
    { id: '~~~' },
    { id: 'router' },
    { id: 'x', metadata: { LABELS: [], INBOUND: {}, PORT_MAP: 'a', HTTP_PROXY_PORT: -1 } },
  ])('makes a proxy of %j', (node) => {
    expect(parseProxyNode(node)).toMatchObject({ client: 'envoy', httpProxyPort: undefined, inbound: [], labels: {} });
  });
});
