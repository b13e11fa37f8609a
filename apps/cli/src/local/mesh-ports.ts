import type { WorkloadDefinition } from './bookinfo.ts';
import type { PortAllocator, WantedPort } from './ports.ts';
import type { MeshAddresses } from './state.ts';

/** Real port numbers: where 0 was asked for, one was chosen before anything started, so that every process can be told of every other. */
export interface MeshPorts {
  readonly gateway: number;
  readonly gatewayHttps: number;
  readonly telemetry: number;
  readonly otlpGrpc: number;
  readonly otlpHttp: number;
  readonly debug: number;
  readonly xds: number;
  readonly xdsMtls: number;
  readonly ca: number;
  readonly caHttp: number;
  readonly rateLimit: number;
  readonly rateLimitHttp: number;
}

const LOCALHOST = '127.0.0.1';
const ANY_HOST = '0.0.0.0';

// The gateway's HTTPS port is not among them: nobody listens there until a Gateway says so.
export function fixedPorts(ports: MeshPorts): WantedPort[] {
  return [
    { what: 'the ingress gateway', flag: 'gateway-port', port: ports.gateway, host: ANY_HOST },
    { what: 'the telemetry collector', flag: 'telemetry-port', port: ports.telemetry, host: LOCALHOST },
    { what: "the collector's OTLP over gRPC", flag: 'otlp-port', port: ports.otlpGrpc, host: LOCALHOST },
    { what: "the collector's OTLP over HTTP", flag: 'otlp-http-port', port: ports.otlpHttp, host: LOCALHOST },
    { what: "the control plane's debug API", flag: 'debug-port', port: ports.debug, host: LOCALHOST },
    { what: "the control plane's xDS", flag: 'xds-port', port: ports.xds, host: LOCALHOST },
    { what: "the control plane's xDS over mutual TLS", flag: 'xds-mtls-port', port: ports.xdsMtls, host: LOCALHOST },
    { what: 'the CA', flag: 'ca-port', port: ports.ca, host: LOCALHOST },
    { what: "the CA's HTTP", flag: 'ca-http-port', port: ports.caHttp, host: LOCALHOST },
  ];
}

/** Every port with its real number. */
export async function chooseFreePorts(ports: MeshPorts, allocator: PortAllocator): Promise<MeshPorts> {
  const chosen: Record<string, number> = {};
  for (const [name, port] of Object.entries(ports)) chosen[name] = port === 0 ? await allocator.next() : port;
  return chosen as unknown as MeshPorts;
}

export async function allocateHttpProxyPorts(
  workloads: readonly WorkloadDefinition[],
  allocator: PortAllocator,
): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  for (const { name } of workloads) ports.set(name, await allocator.next());
  return ports;
}

export function addressesOf(ports: MeshPorts): MeshAddresses {
  const at = (port: number): string => `${LOCALHOST}:${port}`;
  return {
    gateway: at(ports.gateway),
    gatewayHttps: at(ports.gatewayHttps),
    telemetry: at(ports.telemetry),
    otlp: at(ports.otlpGrpc),
    debug: at(ports.debug),
    xds: at(ports.xds),
    xdsMtls: at(ports.xdsMtls),
    ca: at(ports.ca),
  };
}
