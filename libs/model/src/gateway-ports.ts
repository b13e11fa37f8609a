import { selects } from './labels.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';
import type { ProxyNode } from './proxy-node.ts';
import { isOfKubernetes } from './service.ts';

/** How clients reach the ports of a gateway's servers. */
export interface GatewayPorts {
  /** Port of a server → port that the proxy binds for it, where that is another. */
  readonly bound: ReadonlyMap<number, number>;
  /** Ports of servers that clients call by their own number, whatever the proxy binds: a Service leads from one to the other. */
  readonly published: ReadonlySet<number>;
}

/**
 * The ports of a gateway as the Services before it lead to them: a Gateway's `port.number` means the Service's port, and the proxy binds the
 * target port. Where no Service has the number, what the node announced holds, and without that the number itself.
 * Source: istio pilot/pkg/model/gateway.go resolvePorts, pilot/pkg/model/push_context.go mergeGateways (1.32 dev).
 */
export function gatewayPorts(snapshot: MeshSnapshot, node: ProxyNode): GatewayPorts {
  const services = node.type === 'router' ? (snapshot.selectingServices.get(node.namespace) ?? []) : [];
  const named = new Map(node.podPorts.map(({ name, containerPort }) => [name, containerPort]));
  const led = new Map<number, number>();
  for (const service of services) {
    if (!isOfKubernetes(service) || !selects(service.workloadSelector, node.labels)) continue;
    for (const { number, targetPort, targetPortName } of service.ports) {
      const target = targetPortName === undefined ? targetPort : named.get(targetPortName);
      // The oldest Service decides.
      if (target !== undefined && !led.has(number)) led.set(number, target);
    }
  }
  return { bound: led.size === 0 ? node.portMap : new Map([...node.portMap, ...led]), published: new Set(led.keys()) };
}
