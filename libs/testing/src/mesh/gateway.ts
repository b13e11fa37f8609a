import { freePort } from './free-port.ts';
import { type Answer, type PlainRequest, sendRequest } from './http-client.ts';
import { type MeshContext, type Proxied, startProxied } from './proxied.ts';
import type { Recorder } from './recorder.ts';

/** The ingress gateway of a mesh, as tests see it. */
export interface MeshGateway {
  readonly accessLog: Recorder<string>;
  readonly adminPort: number;
  /** Where a Gateway server's port really is. */
  port(serverPort: number): number;
  /** GET by the server port 8080. */
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** `port` is a server's. */
  send(request: Omit<PlainRequest, 'port' | 'socket'> & { readonly port: number }): Promise<Answer>;
}

const SERVER_PORTS = [80, 443, 8080, 8443];

/** Starts an agent and a proxy that Gateways select by `istio: ingressgateway`; their usual ports are mapped to free ones. */
export async function startGateway(context: MeshContext): Promise<{ readonly gateway: MeshGateway; readonly proxied: Proxied }> {
  const portMap = new Map<number, number>();
  for (const port of SERVER_PORTS) portMap.set(port, await freePort());
  const name = 'istio-ingressgateway';
  const proxied = await startProxied(
    {
      proxyType: 'router',
      workload: {
        namespace: 'istio-system',
        serviceAccount: name,
        name,
        instance: name,
        labels: { app: name, istio: 'ingressgateway' },
        workloadGroup: undefined,
      },
      inbound: [],
      httpProxyPort: undefined,
      portMap,
    },
    context,
  );
  const portOf = (serverPort: number): number => {
    const port = portMap.get(serverPort);
    if (port === undefined) throw new Error(`the gateway maps only the server ports ${SERVER_PORTS.join(', ')}`);
    return port;
  };
  const gateway: MeshGateway = {
    accessLog: proxied.accessLog,
    adminPort: proxied.ports.admin,
    port: portOf,
    get: (path, headers = {}) => sendRequest({ path, headers, port: portOf(8080) }),
    send: (request) => sendRequest({ ...request, port: portOf(request.port) }),
  };
  return { gateway, proxied };
}
