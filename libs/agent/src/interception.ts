import { isIPv6 } from 'node:net';
import { joinHostPort } from '@mizzen/core';
import type { AppEndpoints } from './app-readiness.ts';
import type { AgentOptions, PodOptions } from './options.ts';

/** What a captured workload needs before it is one: without these its traffic goes nowhere. Source: istio pilot/pkg/model/listener.go (1.32). */
const VIRTUAL_LISTENERS = ['virtualOutbound', 'virtualInbound'];

/** The listeners that a workload needs beside those of its announced ports. */
export function neededListeners(pod: PodOptions | undefined): readonly string[] {
  return pod?.interceptionMode === 'REDIRECT' ? VIRTUAL_LISTENERS : [];
}

/**
 * The address that the agent and the proxy call the program from, so that iptables takes them for neither the program nor a caller.
 * undefined without capture. Source: istio pilot/cmd/pilot-agent/status/server.go UpstreamLocalAddressIPv4 (1.32).
 */
export function sourceAddressOf(pod: PodOptions | undefined): string | undefined {
  if (pod?.interceptionMode !== 'REDIRECT') return undefined;
  return isIPv6(pod.addresses[0]) ? '::6' : '127.0.0.6';
}

/** Where the program listens that the workload stands for. */
export function appEndpointsOf({ pod, inbound }: Pick<AgentOptions, 'pod' | 'inbound'>): AppEndpoints {
  const sourceAddress = sourceAddressOf(pod);
  const captured = sourceAddress === undefined ? [] : (pod?.ports ?? []);
  const endpoints = captured
    .filter(({ protocol }) => protocol === 'TCP')
    .map(({ containerPort }) => joinHostPort(pod?.addresses[0] ?? '', containerPort));
  return sourceAddress === undefined ? { endpoints: inbound.map(({ endpoint }) => endpoint), sourceAddress } : { endpoints, sourceAddress };
}
