import { readFile } from 'node:fs/promises';
import { errorMessage, type Logger, MizzenError, type Running } from '@mizzen/core';
import type { AgentMetrics } from '../agent-metrics.ts';
import type { AgentOptions, DnsOptions } from '../options.ts';
import { DnsProxy } from './dns-proxy.ts';
import { NameTables } from './name-tables.ts';
import { parseResolvConf, type ResolvConf } from './resolv-conf.ts';

const DNS_PORT = 53;

/** The DNS proxy of a workload with the names that the control plane gave it. */
export interface WorkloadDns extends Running {
  readonly names: NameTables;
  readonly port: number;
}

/** Reads resolv.conf and listens. Throws MIZZEN_ADDRESS where the file cannot be read, or the port not be had. */
export async function startWorkloadDns(dns: DnsOptions, options: AgentOptions, metrics: AgentMetrics): Promise<WorkloadDns> {
  const { workload, clock, random, logger } = options;
  const { servers, searchDomains } = await readResolvConf(dns.resolvConfFile, logger);
  const domain = `${workload.namespace}.svc.cluster.local`;
  const names = new NameTables({ namespace: workload.namespace, domain, searchDomains });
  const proxy = new DnsProxy({
    port: dns.port,
    upstream: servers.map((host) => ({ host, port: DNS_PORT })),
    names: () => names.index.value,
    metrics,
    clock,
    random,
    logger,
  });
  await proxy.start();
  return { names, port: proxy.port, close: () => proxy.close() };
}

async function readResolvConf(file: string, logger: Logger): Promise<ResolvConf> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    throw new MizzenError('MIZZEN_ADDRESS', `${file} cannot be read: ${errorMessage(thrown)}; name another with --resolv-conf`, {
      cause: thrown,
    });
  }
  const parsed = parseResolvConf(text);
  if (parsed.servers.length === 0) logger.warn({ file }, 'resolv.conf names no DNS server: only names of the mesh are answered');
  return parsed;
}
