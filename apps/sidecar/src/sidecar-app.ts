import { agentOptionsOf, agentSettings, captureSettings, createAgent, labelsOf, parseInbound, parseReadinessProbe } from '@mizzen/agent';
import { type App, settings, systemClock } from '@mizzen/core';
import { createProxy, reopenAccessLogsOnSignal } from '@mizzen/proxy';

export const sidecarSettings = {
  namespace: settings.string('namespace', { help: "the workload's namespace", fallback: 'default', placeholder: 'NAME' }),
  serviceAccount: settings.string('service-account', {
    help: "the workload's identity in its namespace",
    fallback: 'default',
    placeholder: 'NAME',
  }),
  workloadGroup: settings.string<string | undefined>('workload-group', {
    help: 'WorkloadGroup that the workload joins by itself',
    fallback: undefined,
    placeholder: 'NAME',
  }),
  workloadName: settings.string<string | undefined>('workload-name', {
    help: "the workload's name in telemetry (default: the WorkloadGroup, else the service account)",
    fallback: undefined,
    placeholder: 'NAME',
  }),
  instance: settings.string<string | undefined>('instance', {
    help: 'name of this instance (default: the workload with the process id)',
    fallback: undefined,
    placeholder: 'NAME',
  }),
  inbound: settings.list('inbound', {
    help: 'a port of the service and where the program listens: 9080=unix:/run/app.sock or 9080=127.0.0.1:5000',
    placeholder: 'PORT=ADDRESS',
  }),
  readinessProbe: settings.string<string>('readiness-probe', {
    help: 'how to find out whether the program is well, as the probe of a WorkloadGroup in JSON: {"httpGet":{"path":"/health","port":9080}}',
    fallback: '',
    placeholder: 'JSON',
  }),
  httpProxyPort: settings.port<number | undefined>('http-proxy-port', {
    help: "port that takes the program's outgoing HTTP (HTTP_PROXY); 0 chooses a free one",
    fallback: undefined,
  }),
  ...captureSettings,
  ...agentSettings,
};

export const sidecarApp: App<typeof sidecarSettings> = {
  name: 'sidecar',
  summary: 'Agent and proxy of one workload: gives it an identity, takes its traffic, and registers it while it runs.',
  schema: sidecarSettings,
  async start({ settings: values, logger }) {
    const name = values.workloadName ?? values.workloadGroup ?? values.serviceAccount;
    const agent = createAgent({
      ...agentOptionsOf(values, { clock: systemClock, random: Math.random, logger }, values),
      proxyType: 'sidecar',
      workload: {
        namespace: values.namespace,
        serviceAccount: values.serviceAccount,
        name,
        instance: values.instance ?? `${name}-${process.pid}`,
        labels: labelsOf(values),
        workloadGroup: values.workloadGroup,
      },
      inbound: parseInbound(values.inbound),
      readinessProbe: parseReadinessProbe(values.readinessProbe),
      httpProxyPort: values.httpProxyPort,
      portMap: new Map(),
      createProxy(options) {
        const proxy = createProxy({ ...options, releasesMemory: true });
        reopenAccessLogsOnSignal(proxy);
        return proxy;
      },
    });
    const ports = await agent.start();
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'sidecar', ports })}\n`);
    return agent;
  },
};
