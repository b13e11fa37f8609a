import { connect } from 'node:http2';
import { expect } from '@jest/globals';
import type { RunningMeshProgram } from '../homes/home.ts';
import { type Chat, chatOver } from '../peers/greeter-client.ts';
import { until } from '../until.ts';
import type { Scenario } from './scenario.ts';

const HOST = 'greeter.example.com';

const ROUTES = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: greeter, namespace: default }
spec:
  hosts: [${HOST}]
  gateways: [bookinfo-gateway]
  http:
    - match: [{ uri: { prefix: /greeter. } }]
      route: [{ destination: { host: greeter, port: { number: 9070 } } }]
`;

/** gRPC all the way: HTTP/2 to the gateway, over mutual TLS to the sidecar, and to the program. */
export const GRPC_SCENARIOS: readonly Scenario[] = [
  {
    title: 'a gRPC service answers through the gateway, message by message, with its own status',
    async run({ home }) {
      await using greeter = await home.startProgram({
        runs: { peer: 'greeter' },
        service: 'greeter',
        version: 'v1',
        port: 9070,
        protocol: 'GRPC',
        serviceAccount: 'greeter',
      });
      await home.apply(ROUTES);
      try {
        // The gateway knows of the route before it knows of the endpoint.
        await until('the greeter greets', async () => ((await chat(home.gatewayUrl, ['you'])).status === '0' ? true : undefined));
        expect(await chat(home.gatewayUrl, ['Ann', 'Bob', 'Cy'])).toEqual({
          httpStatus: 200,
          answers: ['hello Ann', 'hello Bob', 'hello Cy'],
          status: '0',
        });
        expect(await chat(home.gatewayUrl, ['Ann', 'leave'])).toMatchObject({ answers: ['hello Ann'], status: '10' });
        // Trailers alone: of the program, and of the gateway for what has no route.
        expect(await chat(home.gatewayUrl, [], '/greeter.Greeter/Sing')).toEqual({ httpStatus: 200, answers: [], status: '12' });
        expect(await chat(home.gatewayUrl, [], '/other.Service/Call')).toEqual({ httpStatus: 200, answers: [], status: '12' });
        // UNAVAILABLE twice, then fine: the gateway tries again by itself.
        expect(await chat(home.gatewayUrl, [], '/greeter.Greeter/Waver')).toMatchObject({ status: '0' });
        await untilRecorded(greeter);
      } finally {
        await home.delete(ROUTES);
      }
    },
    timeoutMs: 120_000,
  },
];

/** What the sidecar of the program makes of the calls: HTTP/2 in its access log, gRPC with status and messages in its metrics. */
async function untilRecorded(greeter: RunningMeshProgram): Promise<void> {
  await until('the access log has the calls', async () =>
    /"POST \/greeter\.Greeter\/Chat HTTP\/2" 200 /.test(await greeter.sidecarLog()) ? true : undefined,
  );
  const metrics = await until('the metrics have every status', async () => {
    const lines = (await greeter.sidecarMetrics()).split('\n');
    const requests = lines.filter((line) => line.startsWith('istio_requests_total{') && line.includes('request_protocol="grpc"'));
    return ['0', '10', '12', '14'].every((status) => requests.some((line) => line.includes(`grpc_response_status="${status}"`)))
      ? { lines, requests }
      : undefined;
  });
  expect(metrics.requests.filter((line) => !line.includes('connection_security_policy="mutual_tls"'))).toEqual([]);
  expect(total(metrics.requests, 'grpc_response_status="14"')).toBe(2);
  const answers = metrics.lines.filter((line) => line.startsWith('istio_response_messages_total{'));
  expect(total(answers, 'source_workload=')).toBeGreaterThanOrEqual(5);
}

/** Sum of the series that have a label. */
function total(lines: readonly string[], label: string): number {
  return lines.filter((line) => line.includes(label)).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/** Says one thing after the other, each once the one before was answered. */
async function chat(url: string, texts: readonly string[], path?: string): Promise<Chat> {
  const client = connect(url);
  try {
    return await chatOver(client, { authority: HOST, texts, ...(path !== undefined && { path }) });
  } finally {
    client.destroy();
  }
}
