import { errorMessage, MizzenError } from '@mizzen/core';

/** How the agent finds out whether the program of a workload outside Kubernetes is well. Source: istio.networking.v1alpha3.ReadinessProbe. */
export interface ReadinessProbe {
  readonly initialDelayMs: number;
  readonly timeoutMs: number;
  readonly periodMs: number;
  /** So often in a row, until it counts. */
  readonly successThreshold: number;
  readonly failureThreshold: number;
  readonly check: ReadinessCheck;
}

export type ReadinessCheck =
  | {
      readonly kind: 'http';
      readonly host: string | undefined;
      readonly port: number;
      readonly path: string;
      readonly isHttps: boolean;
      readonly headers: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'tcp'; readonly host: string | undefined; readonly port: number }
  | { readonly kind: 'grpc'; readonly port: number; readonly service: string }
  | { readonly kind: 'exec'; readonly command: readonly [string, ...string[]] };

type Fields = Readonly<Record<string, unknown>>;

// Source: istio pkg/istio-agent/health fillInDefaults (1.32).
const DEFAULT = { initialDelaySeconds: 0, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 } as const;

/** Reads the `probe` of a WorkloadGroup, as JSON. undefined for ''. Throws MIZZEN_SETTINGS. */
export function parseReadinessProbe(text: string): ReadinessProbe | undefined {
  if (text === '') return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw wrong(`must be JSON: ${errorMessage(thrown)}`, thrown);
  }
  if (!isFields(parsed)) throw wrong('must be a JSON object');
  const number = (name: keyof typeof DEFAULT): number => {
    const value = parsed[name];
    if (value === undefined || value === 0) return DEFAULT[name];
    if (typeof value !== 'number' || value < 0) throw wrong(`${name} must be a number that is not negative`);
    return value;
  };
  return {
    initialDelayMs: number('initialDelaySeconds') * 1000,
    timeoutMs: number('timeoutSeconds') * 1000,
    periodMs: number('periodSeconds') * 1000,
    successThreshold: number('successThreshold'),
    failureThreshold: number('failureThreshold'),
    check: parseCheck(parsed),
  };
}

function parseCheck({ httpGet, tcpSocket, exec, grpc }: Fields): ReadinessCheck {
  const given = [httpGet, tcpSocket, exec, grpc].filter((method) => method !== undefined);
  const [method] = given;
  if (given.length !== 1 || !isFields(method)) throw wrong('needs one of httpGet, tcpSocket, exec and grpc');
  if (method === exec) {
    const { command } = method;
    if (!Array.isArray(command) || !command.every((word) => typeof word === 'string') || command[0] === undefined)
      throw wrong('exec.command must be a list of words');
    return { kind: 'exec', command: command as unknown as [string, ...string[]] };
  }
  const port = portOf(method);
  if (method === tcpSocket) return { kind: 'tcp', host: text(method['host']) || undefined, port };
  if (method === grpc) return { kind: 'grpc', port, service: text(method['service']) };
  const path = text(method['path']);
  return {
    kind: 'http',
    host: text(method['host']) || undefined,
    port,
    path: path.startsWith('/') ? path : `/${path}`,
    isHttps: text(method['scheme']).toUpperCase() === 'HTTPS',
    headers: headersOf(method['httpHeaders']),
  };
}

function portOf({ port }: Fields): number {
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw wrong('port must be a number from 1 to 65535');
  return port;
}

function headersOf(headers: unknown): Record<string, string> {
  if (headers === undefined) return {};
  if (!Array.isArray(headers)) throw wrong('httpGet.httpHeaders must be a list');
  return Object.fromEntries(
    headers.map((header: unknown) => {
      const { name, value } = isFields(header) ? header : {};
      if (text(name) === '') throw wrong('httpGet.httpHeaders: each needs a name');
      return [text(name), text(value)];
    }),
  );
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function wrong(rule: string, cause?: unknown): MizzenError {
  return new MizzenError('MIZZEN_SETTINGS', `--readiness-probe ${rule}`, cause === undefined ? {} : { cause });
}
