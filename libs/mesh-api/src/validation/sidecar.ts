import type { SidecarEgressListener, SidecarIngressListener, SidecarSpec } from '../kinds/sidecar.ts';
import { checkDestination, isHostOrWildcard, splitScopedHost } from './common.ts';
import { checkServerTls } from './gateway.ts';
import { isAddress, isDnsLabel, isProtocol, PROTOCOL_HINT, unixPath } from './names.ts';
import { given, type Path, type SpecReport } from './report.ts';

interface At {
  readonly path: Path;
  readonly report: SpecReport;
}

/** Source: istio pkg/config/validation/validation.go, 1.32 dev. */
export function validateSidecar(spec: SidecarSpec, report: SpecReport): void {
  const { ingress = [], egress = [], outboundTrafficPolicy } = spec;
  if (Object.keys(spec).every((name) => name === 'workloadSelector'))
    report.error([], 'a Sidecar needs at least one of ingress, egress, inboundConnectionPool and outboundTrafficPolicy');
  const ports = new Set<number>();
  for (const [index, listener] of ingress.entries()) checkIngress(listener, ports, { path: ['ingress', index], report });
  checkEgressOrder(egress, report);
  for (const [index, listener] of egress.entries()) checkEgress(listener, { path: ['egress', index], report });
  const egressProxy = outboundTrafficPolicy?.egressProxy;
  const path = ['outboundTrafficPolicy', 'egressProxy'];
  checkDestination(egressProxy, path, report);
  if (egressProxy && !egressProxy.port) report.error([...path, 'port'], 'the port of the egress proxy is required');
  if (egressProxy && outboundTrafficPolicy?.mode !== 'ALLOW_ANY') report.error(path, 'needs mode ALLOW_ANY');
}

function checkIngress(listener: SidecarIngressListener, ports: Set<number>, { path, report }: At): void {
  const { port, bind = '', defaultEndpoint = '', tls } = listener;
  const number = port?.number ?? 0;
  if (number === 0) report.error([...path, 'port', 'number'], 'the port is required');
  if (number !== 0 && ports.has(number)) report.error([...path, 'port', 'number'], `port ${number} has two ingress listeners`);
  ports.add(number);
  checkProtocol(port?.protocol, { path, report });
  if (bind !== '' && !isAddress(bind))
    report.error([...path, 'bind'], `"${bind}" is not an address; an ingress listener cannot bind a Unix socket`);
  if (defaultEndpoint !== '' && !isDefaultEndpoint(defaultEndpoint)) {
    report.error(
      [...path, 'defaultEndpoint'],
      `"${defaultEndpoint}" is not 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///path`,
    );
  }
  if (!tls) return;
  checkServerTls(tls, { path: [...path, 'tls'], report });
  for (const name of given(tls, ['subjectAltNames', 'httpsRedirect', 'credentialName', 'credentialNames', 'tlsCertificates'])) {
    report.error([...path, 'tls', name], 'is not supported for the ingress of a Sidecar; name files');
  }
}

function isDefaultEndpoint(text: string): boolean {
  if (text.startsWith('unix://')) return unixPath(text) !== undefined;
  const port = /^(?:127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):(\d{1,5})$/.exec(text)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
}

// The listener without a port takes what the others leave, so there is at most one and it is the last.
function checkEgressOrder(egress: readonly SidecarEgressListener[], report: SpecReport): void {
  const taken = new Set<string>();
  for (const [index, { port, bind = '' }] of egress.entries()) {
    if (!port && bind === '' && index !== egress.length - 1)
      report.error(['egress', index], 'an egress listener without a port must be the last one, and the only one');
    if (!port?.number) continue;
    const address = `${bind}:${port.number}`;
    if (taken.has(address)) report.error(['egress', index, 'port', 'number'], `two egress listeners are bound to ${address}`);
    taken.add(address);
  }
}

function checkEgress({ port, bind = '', captureMode, hosts }: SidecarEgressListener, { path, report }: At): void {
  const isSocket = bind.startsWith('unix://');
  if (isSocket) {
    if (unixPath(bind) === undefined) report.error([...path, 'bind'], `"${bind}" is not unix:///absolute/path or unix://@name`);
    if (port?.number) report.error([...path, 'port', 'number'], 'must be 0 where a Unix socket is bound');
    if (captureMode === 'IPTABLES') report.error([...path, 'captureMode'], 'must be NONE or DEFAULT where a Unix socket is bound');
  } else if (bind !== '' && !isAddress(bind)) report.error([...path, 'bind'], `"${bind}" is neither an address nor unix:///path`);
  if (bind !== '' && !isSocket && !port?.number) report.error([...path, 'port', 'number'], 'a listener with a bind address needs a port');
  checkProtocol(port?.protocol, { path, report });
  for (const [index, text] of hosts.entries()) {
    if (!isEgressHost(text))
      report.error([...path, 'hosts', index], `"${text}" is not namespace/host: write ./*, */*.example.com, bookinfo/reviews or ~/*`);
  }
}

function isEgressHost(text: string): boolean {
  const { namespace, host } = splitScopedHost(text);
  if (namespace === undefined || !isHostOrWildcard(host)) return false;
  // `~prod/*` takes away what another host let in.
  const named = namespace.startsWith('~') ? namespace.slice(1) : namespace;
  return ['', '*', '.'].includes(named) ? namespace !== '' : isDnsLabel(named);
}

function checkProtocol(protocol: string | undefined, { path, report }: At): void {
  if (protocol !== undefined && protocol !== '' && !isProtocol(protocol))
    report.error([...path, 'port', 'protocol'], `"${protocol}" is not ${PROTOCOL_HINT}`);
}
