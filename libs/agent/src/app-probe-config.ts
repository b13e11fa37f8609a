import { errorMessage, MizzenError } from '@mizzen/core';

/** A probe of a container that the agent carries out in its place. */
export type AppProbe = { readonly timeoutMs: number } & (
  | { readonly kind: 'http'; readonly port: number; readonly path: string; readonly isHttps: boolean }
  | { readonly kind: 'tcp'; readonly port: number }
  | { readonly kind: 'grpc'; readonly port: number; readonly service: string }
);

/** By the path of the status port that stands for it: `/app-health/<container>/livez`. */
export type AppProbes = ReadonlyMap<string, AppProbe>;

// Source: istio pilot/cmd/pilot-agent/status/server.go appProberPattern (1.32).
const PATH = /^\/(app-health|app-lifecycle)\/[^/]+\/(livez|readyz|startupz|prestopz|poststartz)$/;
// What Kubernetes gives a probe that says nothing of it.
const DEFAULT_TIMEOUT_S = 1;

/** Reads ISTIO_KUBE_APP_PROBERS, as Istio's and our injector write it. Throws MIZZEN_SETTINGS with the probe that is wrong. */
export function parseAppProbes(text: string): AppProbes {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_SETTINGS', `--app-probes must be JSON: ${errorMessage(thrown)}`, { cause: thrown });
  }
  if (!isRecord(parsed)) throw new MizzenError('MIZZEN_SETTINGS', '--app-probes must be a JSON object of probes by their path');
  return new Map(Object.entries(parsed).map(([path, probe]) => [path, parseProbe(path, probe)]));
}

function parseProbe(path: string, probe: unknown): AppProbe {
  const wrong = (rule: string): MizzenError => new MizzenError('MIZZEN_SETTINGS', `--app-probes: ${path}: ${rule}`);
  if (!PATH.test(path)) throw wrong(`the path must match ${PATH.source}`);
  if (!isRecord(probe)) throw wrong('must be an object');
  const { httpGet, tcpSocket, grpc, timeoutSeconds = 0 } = probe;
  const given = [httpGet, tcpSocket, grpc].filter((handler) => handler !== undefined && handler !== null);
  const [handler] = given;
  if (given.length !== 1 || !isRecord(handler)) throw wrong('must have one of httpGet, tcpSocket and grpc');
  const { port } = handler;
  // A name has no meaning here; the injector writes the number that it stands for.
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw wrong('port must be a number from 1 to 65535');
  if (typeof timeoutSeconds !== 'number' || timeoutSeconds < 0) throw wrong('timeoutSeconds must be a number that is not negative');
  const timeoutMs = (timeoutSeconds || DEFAULT_TIMEOUT_S) * 1000;
  if (handler === tcpSocket) return { kind: 'tcp', port, timeoutMs };
  if (handler === grpc) return { kind: 'grpc', port, service: text(handler['service']), timeoutMs };
  const target = text(handler['path']);
  return {
    kind: 'http',
    port,
    path: target.startsWith('/') ? target : `/${target}`,
    isHttps: text(handler['scheme']).toUpperCase() === 'HTTPS',
    timeoutMs,
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
