export interface SubjectAltNames {
  readonly uris: readonly string[];
  readonly dns: readonly string[];
  readonly ips: readonly string[];
  readonly emails: readonly string[];
}

/**
 * The subject alternative names of a certificate. Node prints them as one string and quotes (as JSON) a value that holds a comma, a quote
 * or a control character, so that no value can pass for another (CVE-2021-44532). What does not parse gives no name at all.
 */
export function parseSubjectAltNames(text: string | undefined): SubjectAltNames {
  const names = { uris: [] as string[], dns: [] as string[], ips: [] as string[], emails: [] as string[] };
  const none: SubjectAltNames = { uris: [], dns: [], ips: [], emails: [] };
  let rest = text ?? '';
  while (rest !== '') {
    const match = /^([A-Za-z0-9 .]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/.exec(rest);
    if (match === null) return none;
    const value = unquote(match[2] as string);
    // A NUL would end the name for a C program further on.
    if (value === undefined || value.includes('\0')) return none;
    if (match[1] === 'URI') names.uris.push(value);
    else if (match[1] === 'DNS') names.dns.push(value);
    else if (match[1] === 'IP Address') names.ips.push(value);
    else if (match[1] === 'email') names.emails.push(value);
    rest = rest.slice(match[0].length);
  }
  return names;
}

/**
 * Whether a DNS name of a certificate, which may have a wildcard in its first label, stands for `name`. Letters of either case are equal.
 * Source: envoy extensions/transport_sockets/tls/utility.cc dnsNameMatch (1.40); RFC 6125 §6.4.3.
 */
export function dnsNameCovers(certified: string, name: string): boolean {
  const [pattern, host] = [certified.toLowerCase(), name.toLowerCase()];
  if (pattern === host) return true;
  const [patternDot, hostDot] = [pattern.indexOf('.'), host.indexOf('.')];
  // Both need a second label, and that must be equal from there on.
  if (patternDot < 0 || hostDot < 0 || pattern.slice(patternDot) !== host.slice(hostDot)) return false;
  const label = pattern.slice(0, patternDot);
  const [before, after, another] = label.split('*');
  // An internationalised label is no text that a wildcard could stand in.
  if (before === undefined || after === undefined || another !== undefined || label.startsWith('xn--')) return false;
  const own = host.slice(0, hostDot);
  return own.length >= label.length - 1 && own.startsWith(before) && own.endsWith(after);
}

function unquote(text: string): string | undefined {
  if (!text.startsWith('"')) return text;
  try {
    return String(JSON.parse(text));
  } catch {
    return undefined;
  }
}
