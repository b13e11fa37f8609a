import type {
  ClientTlsSettings,
  DestinationRuleSpec,
  LoadBalancerSettings,
  LocalityLbSetting,
  PortTrafficPolicy,
  TrafficPolicy,
} from '../kinds/destination-rule.ts';
import { checkExportTo } from './common.ts';
import { isDnsLabel, isHostName, isWildcardHost } from './names.ts';
import { atMostOne, given, type Path, type SpecReport } from './report.ts';

interface At {
  readonly path: Path;
  readonly report: SpecReport;
}

/** Source: istio pkg/config/validation/validation.go, 1.32 dev. */
export function validateDestinationRule(spec: DestinationRuleSpec, report: SpecReport): void {
  if (!isWildcardHost(spec.host)) report.error(['host'], `"${spec.host}" is not the name of a service`);
  checkTrafficPolicy(spec.trafficPolicy, { path: ['trafficPolicy'], report });
  const seen = new Set<string>();
  for (const [index, subset] of (spec.subsets ?? []).entries()) {
    const path = ['subsets', index];
    if (!isDnsLabel(subset.name))
      report.error([...path, 'name'], `"${subset.name}" is not a name of a subset: lower-case letters, digits and "-" only`);
    if (seen.has(subset.name)) report.error([...path, 'name'], `the subset "${subset.name}" is defined twice`);
    seen.add(subset.name);
    checkTrafficPolicy(subset.trafficPolicy, { path: [...path, 'trafficPolicy'], report });
  }
  checkExportTo(spec.exportTo, report);
}

function checkTrafficPolicy(policy: TrafficPolicy | undefined, { path, report }: At): void {
  if (!policy) return;
  if (Object.keys(policy).length === 0) report.error(path, 'a traffic policy needs at least one field');
  checkPortPolicy(policy, { path, report });
  const ports = new Set<number>();
  for (const [index, settings] of (policy.portLevelSettings ?? []).entries()) {
    const at = { path: [...path, 'portLevelSettings', index], report };
    const number = settings.port?.number ?? 0;
    if (number === 0) report.error([...at.path, 'port', 'number'], 'the number of the port is required');
    if (ports.has(number)) report.error([...at.path, 'port', 'number'], `port ${number} has two settings`);
    ports.add(number);
    checkPortPolicy(settings, at);
  }
  const { tunnel } = policy;
  if (!tunnel) return;
  if (!['CONNECT', 'POST', ''].includes(tunnel.protocol ?? '')) report.error([...path, 'tunnel', 'protocol'], 'must be CONNECT or POST');
  if (!isHostName(tunnel.targetHost)) report.error([...path, 'tunnel', 'targetHost'], `"${tunnel.targetHost}" is not a host`);
  if (tunnel.targetPort === 0) report.error([...path, 'tunnel', 'targetPort'], 'must be 1 to 65535');
}

function checkPortPolicy(policy: PortTrafficPolicy, { path, report }: At): void {
  if (policy.loadBalancer) checkLoadBalancer(policy.loadBalancer, { path: [...path, 'loadBalancer'], report });
  if (policy.tls) checkClientTls(policy.tls, { path: [...path, 'tls'], report });
  const pool = policy.connectionPool;
  if (pool && !pool.tcp && !pool.http) report.error([...path, 'connectionPool'], 'a connection pool needs tcp or http');
  if (pool?.http?.useClientProtocol && pool.http.h2UpgradePolicy === 'UPGRADE') {
    report.error([...path, 'connectionPool', 'http', 'useClientProtocol'], 'excludes h2UpgradePolicy: UPGRADE');
  }
}

function checkLoadBalancer(settings: LoadBalancerSettings, { path, report }: At): void {
  atMostOne(settings, ['simple', 'consistentHash'], { path, report });
  const { consistentHash, localityLbSetting, simple } = settings;
  if (consistentHash) {
    const at = { path: [...path, 'consistentHash'], report };
    atMostOne(consistentHash, ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'], at);
    atMostOne(consistentHash, ['ringHash', 'maglev'], at);
    if (given(consistentHash, ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName']).length === 0) {
      report.error(at.path, 'what to hash is required: one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName');
    }
  }
  if ((settings.warmup || settings.warmupDurationSecs) && (consistentHash || simple === 'RANDOM' || simple === 'PASSTHROUGH')) {
    report.error([...path, settings.warmup ? 'warmup' : 'warmupDurationSecs'], 'warm-up works with LEAST_REQUEST and ROUND_ROBIN only');
  }
  checkLocality(localityLbSetting, { path: [...path, 'localityLbSetting'], report });
}

function checkLocality(setting: LocalityLbSetting | undefined, { path, report }: At): void {
  if (!setting) return;
  atMostOne(setting, ['distribute', 'failover'], { path, report });
  atMostOne(setting, ['distribute', 'failoverPriority'], { path, report });
  for (const [index, { to = {} }] of (setting.distribute ?? []).entries()) {
    const total = Object.values(to).reduce((sum, weight) => sum + weight, 0);
    if (total !== 100) report.error([...path, 'distribute', index, 'to'], `the weights add up to ${total}; they must add up to 100`);
  }
  for (const [index, { from, to }] of (setting.failover ?? []).entries()) {
    if (from === to) report.error([...path, 'failover', index], 'from and to must be different regions');
  }
}

function checkClientTls(tls: ClientTlsSettings, { path, report }: At): void {
  const files = given(tls, ['clientCertificate', 'privateKey', 'caCertificates', 'caCrl']);
  if (tls.mode === 'ISTIO_MUTUAL') {
    const [set] = [...files, ...given(tls, ['credentialName'])];
    if (set) report.error([...path, set], 'must not be set in mode ISTIO_MUTUAL, which uses the certificate of the workload');
    return;
  }
  const [file] = files;
  if (tls.credentialName && file) report.error([...path, file], 'excludes credentialName');
  if (tls.mode === 'MUTUAL' && !tls.credentialName) {
    if (!tls.clientCertificate)
      report.error([...path, 'clientCertificate'], 'mode MUTUAL needs clientCertificate and privateKey, or credentialName');
    else if (!tls.privateKey)
      report.error([...path, 'privateKey'], 'mode MUTUAL needs clientCertificate and privateKey, or credentialName');
  }
  if (tls.insecureSkipVerify && (tls.subjectAltNames?.length ?? 0) > 0)
    report.error([...path, 'subjectAltNames'], 'excludes insecureSkipVerify');
  if (tls.insecureSkipVerify && tls.caCertificates) report.error([...path, 'caCertificates'], 'excludes insecureSkipVerify');
}
