import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { errorMessage, joinHostPort, type Logger, splitHostPort } from '@mizzen/core';
import type { HttpAnswer } from '@mizzen/telemetry';
import type { AppProbe, AppProbes } from './app-probe-config.ts';
import { checkGrpcHealth } from './grpc-health.ts';
import { type GetResponse, sendGet } from './http-get.ts';
import { checkTcp } from './tcp-check.ts';

export interface AppProberOptions {
  readonly probes: AppProbes;
  /** Where the program is reached: the pod's address, as the kubelet would call it. */
  readonly address: string;
  /** The address that calls come from, by which iptables leaves them alone; undefined without capture. */
  readonly sourceAddress: string | undefined;
  readonly logger: Logger;
}

type HttpProbe = Extract<AppProbe, { kind: 'http' }>;

const MAX_BODY_BYTES = 10 * 1024;
const MAX_REDIRECTS = 10;
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'host']);

/** Carries out the kubelet's probes of the program, which the injector led here: under mutual TLS the kubelet itself cannot reach it. */
export class AppProber {
  readonly #options: AppProberOptions;

  constructor(options: AppProberOptions) {
    this.#options = options;
  }

  /** Never rejects: a program that does not answer is a failed probe. */
  async probe(path: string, request: Pick<IncomingMessage, 'headers' | 'socket'>): Promise<HttpAnswer> {
    const probe = this.#options.probes.get(path);
    if (probe === undefined) return { code: 400, body: `there is no probe ${path}; the pod's are named by ISTIO_KUBE_APP_PROBERS\n` };
    try {
      return await this.#carryOut(probe, request);
    } catch (thrown) {
      const reason = errorMessage(thrown);
      this.#options.logger.debug({ path, reason }, 'the probe of the program failed');
      return { code: 500, body: `the program does not answer: ${reason}\n` };
    }
  }

  #carryOut(probe: AppProbe, request: Pick<IncomingMessage, 'headers' | 'socket'>): Promise<HttpAnswer> {
    switch (probe.kind) {
      case 'http':
        return this.#get(probe, request);
      case 'tcp':
        return this.#connect(probe);
      case 'grpc':
        return this.#checkHealth(probe, request.headers['user-agent']);
    }
  }

  async #get(probe: HttpProbe, request: Pick<IncomingMessage, 'headers' | 'socket'>): Promise<HttpAnswer> {
    const { address, sourceAddress } = this.#options;
    const headers = { ...endToEnd(request.headers), host: hostFor(probe, request) };
    let target = { host: address, port: probe.port, path: probe.path, isHttps: probe.isHttps };
    const deadline = performance.now() + probe.timeoutMs;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const timeoutMs = Math.max(1, Math.round(deadline - performance.now()));
      const response = await sendGet({ ...target, headers, localAddress: sourceAddress, timeoutMs, maxBodyBytes: MAX_BODY_BYTES });
      if (response.code < 300 || response.code >= 400) return { code: response.code, body: response.body };
      const next = redirectOf(response, target);
      // A redirect to elsewhere is a success: the program answered. Without its Location it cannot be passed on as such.
      // Source: Kubernetes pkg/probe/http; istio redirectChecker (1.32).
      if (next === undefined) return { code: 200, body: '' };
      target = next;
      headers.host = joinHostPort(next.host, next.port);
    }
    return { code: 500, body: `stopped after ${MAX_REDIRECTS} redirects\n` };
  }

  async #connect({ port, timeoutMs }: AppProbe): Promise<HttpAnswer> {
    const { address, sourceAddress } = this.#options;
    await checkTcp({ host: address, port, localAddress: sourceAddress, timeoutMs });
    return { code: 200, body: '' };
  }

  async #checkHealth(probe: Extract<AppProbe, { kind: 'grpc' }>, userAgent: string | undefined): Promise<HttpAnswer> {
    const { address, sourceAddress } = this.#options;
    const { port, service, timeoutMs } = probe;
    const status = await checkGrpcHealth({ host: address, port, localAddress: sourceAddress, service, timeoutMs, userAgent });
    return status === 'SERVING' ? { code: 200, body: '' } : { code: 500, body: `${status}\n` };
  }
}

// The kubelet says whom it means by Host; with the port of this server in it, it means the program's.
function hostFor(probe: HttpProbe, { headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>): string {
  const { host = '' } = headers;
  const given = splitHostPort(host);
  return given !== undefined && given.port === socket.localPort ? joinHostPort(given.host, probe.port) : host;
}

function endToEnd(headers: IncomingHttpHeaders): Record<string, string | readonly string[]> & { host: string } {
  const kept = Object.entries(headers).filter(([name, value]) => value !== undefined && !HOP_BY_HOP.has(name));
  return { host: '', ...(Object.fromEntries(kept) as Record<string, string | readonly string[]>) };
}

function redirectOf(
  { headers }: GetResponse,
  from: { host: string; port: number; path: string; isHttps: boolean },
): { host: string; port: number; path: string; isHttps: boolean } | undefined {
  if (headers.location === undefined) return undefined;
  const base = `${from.isHttps ? 'https' : 'http'}://${joinHostPort(from.host, from.port)}${from.path}`;
  if (!URL.canParse(headers.location, base)) return undefined;
  const url = new URL(headers.location, base);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const isHttps = url.protocol === 'https:';
  if (host !== from.host || !(isHttps || url.protocol === 'http:')) return undefined;
  return { host, port: Number(url.port) || (isHttps ? 443 : 80), path: `${url.pathname}${url.search}`, isHttps };
}
