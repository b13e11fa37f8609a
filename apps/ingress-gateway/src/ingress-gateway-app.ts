import { agentOptionsOf, agentSettings, createAgent, labelsOf, parsePortMap } from '@mizzen/agent';
import { type App, settings, systemClock } from '@mizzen/core';
import { createProxy, reopenAccessLogsOnSignal } from '@mizzen/proxy';
import { portMapOf } from './port-map.ts';
import { mayBindPrivilegedPorts } from './privileged-ports.ts';

export const ingressGatewaySettings = {
  namespace: settings.string('namespace', { help: "the gateway's namespace", fallback: 'istio-system', placeholder: 'NAME' }),
  serviceAccount: settings.string('service-account', {
    help: "the gateway's identity in its namespace",
    fallback: 'istio-ingressgateway',
    placeholder: 'NAME',
  }),
  workloadName: settings.string('workload-name', {
    help: "the gateway's name in telemetry",
    fallback: 'istio-ingressgateway',
    placeholder: 'NAME',
  }),
  instance: settings.string<string | undefined>('instance', {
    help: 'name of this instance (default: the workload name with the process id)',
    fallback: undefined,
    placeholder: 'NAME',
  }),
  mapPort: settings.list('map-port', {
    help: "bind the second port in place of a Gateway server's first (default: 80=8080 and 443=8443 with --address, and where ports below 1024 may not be bound)",
    placeholder: 'PORT=PORT',
  }),
  ...agentSettings,
};

// What Istio's own ingress gateway is labelled with: Gateways select it by them.
const DEFAULT_LABELS = { app: 'istio-ingressgateway', istio: 'ingressgateway' };
export const ingressGatewayApp: App<typeof ingressGatewaySettings> = {
  name: 'ingress-gateway',
  summary: 'The proxy at the edge of the mesh: serves what Gateways that select it say.',
  schema: ingressGatewaySettings,
  async start({ settings: values, logger }) {
    const options = agentOptionsOf(values, { clock: systemClock, random: Math.random, logger });
    // A Service that leads to 8080 leads there wherever the pod runs: what its node allows must not decide.
    const portMap = portMapOf(parsePortMap(values.mapPort), options.pod === undefined && (await mayBindPrivilegedPorts()));
    if (portMap.size > 0) logger.info({ portMap: Object.fromEntries(portMap) }, 'ports of Gateway servers are mapped');
    const agent = createAgent({
      ...options,
      proxyType: 'router',
      workload: {
        namespace: values.namespace,
        serviceAccount: values.serviceAccount,
        name: values.workloadName,
        instance: values.instance ?? `${values.workloadName}-${process.pid}`,
        labels: { ...DEFAULT_LABELS, ...labelsOf(values) },
        workloadGroup: undefined,
      },
      inbound: [],
      httpProxyPort: undefined,
      portMap,
      createProxy(options) {
        const proxy = createProxy({ ...options, releasesMemory: true });
        reopenAccessLogsOnSignal(proxy);
        return proxy;
      },
    });
    const ports = await agent.start();
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'ingress-gateway', ports })}\n`);
    return agent;
  },
};
