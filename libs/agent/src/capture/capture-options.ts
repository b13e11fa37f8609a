/** What is captured. Ports and ids are numbers as text, ranges in CIDR form; `*` stands for all. */
export interface CaptureOptions {
  readonly outboundPort: number;
  readonly inboundPort: number;
  /** Connections to it are already meant for the proxy (HBONE). */
  readonly tunnelPort: number;
  readonly dnsPort: number;
  /** Users and groups of the proxy, whose own connections are left alone. */
  readonly proxyUids: readonly string[];
  readonly proxyGids: readonly string[];
  /** Ports of the workload that are captured: `*` is all but `excludedInboundPorts`. */
  readonly inboundPorts: '*' | readonly number[];
  readonly excludedInboundPorts: readonly number[];
  /** Destinations that are captured. */
  readonly outboundRanges: '*' | readonly string[];
  readonly excludedOutboundRanges: readonly string[];
  /** Captured wherever they go to. */
  readonly outboundPorts: readonly number[];
  readonly excludedOutboundPorts: readonly number[];
  /** Groups whose processes are captured: `*` is all but `excludedOwnerGroups`. */
  readonly ownerGroups: '*' | readonly string[];
  readonly excludedOwnerGroups: readonly string[];
  readonly excludedInterfaces: readonly string[];
  /** Interfaces of virtual machines inside the workload: what comes from them is outbound. */
  readonly virtualInterfaces: readonly string[];
  /** DNS servers whose questions go to the agent instead: `*` is every server. Empty: DNS is not captured. */
  readonly dnsServers: '*' | readonly string[];
  /** Drops packets that no connection knows, instead of answering with a reset. */
  readonly dropsInvalid: boolean;
}

/** Istio's defaults, with all traffic captured. */
export const DEFAULT_CAPTURE: CaptureOptions = {
  outboundPort: 15001,
  inboundPort: 15006,
  tunnelPort: 15008,
  dnsPort: 15053,
  proxyUids: ['1337'],
  proxyGids: ['1337'],
  inboundPorts: '*',
  // The proxy's metrics, readiness and status: asked by those that have no certificate.
  excludedInboundPorts: [15090, 15021, 15020],
  outboundRanges: '*',
  excludedOutboundRanges: [],
  outboundPorts: [],
  excludedOutboundPorts: [],
  ownerGroups: '*',
  excludedOwnerGroups: [],
  excludedInterfaces: [],
  virtualInterfaces: [],
  dnsServers: [],
  dropsInvalid: false,
};
