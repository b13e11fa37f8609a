import type { GatewayServer, GatewaySpec } from '../kinds/gateway.ts';
import type { ServerTlsSettings } from '../kinds/shared.ts';
import { isHostOrWildcard, splitScopedHost } from './common.ts';
import { isAddress, isDnsLabel, isProtocol, PROTOCOL_HINT, unixPath } from './names.ts';
import { given, type Path, type SpecReport } from './report.ts';

interface At {
  readonly path: Path;
  readonly report: SpecReport;
}

/** Source: istio pkg/config/validation/validation.go, 1.32 dev. */
export function validateGateway({ servers = [] }: GatewaySpec, report: SpecReport): void {
  if (servers.length === 0) report.error(['servers'], 'a Gateway needs at least one server');
  const portNames = new Set<string>();
  for (const [index, server] of servers.entries()) {
    const path = ['servers', index];
    if (portNames.has(server.port.name)) report.error([...path, 'port', 'name'], `the port name "${server.port.name}" is used twice`);
    portNames.add(server.port.name);
    checkServer(server, { path, report });
  }
}

function checkServer(server: GatewayServer, { path, report }: At): void {
  const { protocol } = server.port;
  if (!isProtocol(protocol)) report.error([...path, 'port', 'protocol'], `"${protocol}" is not ${PROTOCOL_HINT}`);
  if (server.hosts.length === 0) report.error([...path, 'hosts'], 'a server needs at least one host; "*" is any');
  for (const [index, text] of server.hosts.entries()) {
    const { namespace, host } = splitScopedHost(text);
    const isNamespace = namespace === undefined || namespace === '*' || namespace === '.' || isDnsLabel(namespace);
    if (!isNamespace || !isHostOrWildcard(host))
      report.error([...path, 'hosts', index], `"${text}" is not a host; write example.com, *.example.com, * or namespace/host`);
  }
  const { bind } = server;
  if (bind !== undefined && bind !== '' && !isAddress(bind) && unixPath(bind) === undefined)
    report.error([...path, 'bind'], `"${bind}" is neither an address nor unix:///path`);
  checkTlsPresence(server, { path, report });
}

function checkTlsPresence({ port, tls }: GatewayServer, { path, report }: At): void {
  const protocol = port.protocol.toUpperCase();
  if (protocol === 'HTTPS' || protocol === 'TLS') {
    if (!tls) report.error([...path, 'tls'], `a server of protocol ${protocol} needs tls settings`);
    else checkServerTls(tls, { path: [...path, 'tls'], report });
    if (tls?.httpsRedirect) report.warn([...path, 'tls', 'httpsRedirect'], 'has an effect on servers of protocol HTTP only');
    return;
  }
  if (!tls) return;
  const others = Object.keys(tls).filter((name) => name !== 'httpsRedirect');
  if (others.length > 0)
    report.error(
      [...path, 'tls', others[0] as string],
      `a server of protocol ${port.protocol} takes no TLS settings except httpsRedirect; use HTTPS or TLS`,
    );
}

const VERSION_ORDER = ['TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3'];

/** TLS of a Gateway server, or of a Sidecar's ingress listener. The mode's default is PASSTHROUGH. */
export function checkServerTls(tls: ServerTlsSettings, { path, report }: At): void {
  const mode = tls.mode ?? 'PASSTHROUGH';
  const files = given(tls, ['serverCertificate', 'privateKey', 'caCertificates', 'caCrl']);
  const credentials = given(tls, ['credentialName', 'credentialNames', 'caCertCredentialName']);
  if (mode === 'ISTIO_MUTUAL') {
    const [set] = [...files, ...credentials, ...given(tls, ['tlsCertificates'])];
    if (set) report.error([...path, set], 'must not be set in mode ISTIO_MUTUAL, which uses the certificate of the workload');
  }
  if (mode === 'SIMPLE' || mode === 'MUTUAL' || mode === 'OPTIONAL_MUTUAL') checkCertificates(tls, mode, { path, report });
  const sources = given(tls, ['credentialName', 'credentialNames', 'tlsCertificates']);
  if (sources.length > 1) report.error([...path, sources[1] as string], `${sources.join(' and ')} exclude each other; give one of them`);
  const min = VERSION_ORDER.indexOf(tls.minProtocolVersion ?? 'TLSV1_0');
  const max = VERSION_ORDER.indexOf(tls.maxProtocolVersion ?? 'TLSV1_3');
  if (min >= 0 && max >= 0 && min > max) report.error([...path, 'minProtocolVersion'], 'is above maxProtocolVersion');
}

function checkCertificates(tls: ServerTlsSettings, mode: string, { path, report }: At): void {
  if (tls.credentialName || tls.credentialNames) return;
  for (const [index, pair] of (tls.tlsCertificates ?? []).entries()) {
    if (!pair.serverCertificate || !pair.privateKey)
      report.error([...path, 'tlsCertificates', index], 'serverCertificate and privateKey are required');
  }
  if (!tls.tlsCertificates) {
    for (const name of ['serverCertificate', 'privateKey'] as const) {
      if (!tls[name]) report.error([...path, name], `mode ${mode} needs credentialName, or serverCertificate and privateKey`);
    }
  }
  if (mode !== 'SIMPLE' && !tls.caCertificates && !tls.caCertCredentialName)
    report.error([...path, 'caCertificates'], `mode ${mode} needs the certificates that clients are checked against`);
}
