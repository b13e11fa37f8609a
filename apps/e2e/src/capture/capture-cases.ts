import { OUTSIDE, VIP } from './capture-bootstrap.ts';

/** A call, what may come back, and what the proxies log of it. */
export interface CaptureCase {
  readonly title: string;
  /** `proxyUser` runs as the user that the rules leave alone; `remote` is outside of the workload. */
  readonly caller: 'app' | 'proxyUser' | 'remote';
  readonly question: { readonly host: string; readonly port: number; readonly text: string };
  readonly answers: readonly string[];
  /** Cluster, original destination, upstream, flags. Absent: not captured. */
  readonly log?: readonly string[];
}

const GET = 'GET / HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n';
const REFUSED = ['closed', 'error ECONNRESET', 'error EPIPE'];

function get(host: string, port: number): CaptureCase['question'] {
  return { host, port, text: GET.replace('HOST', host.includes(':') ? `[${host}]` : host) };
}

function say(host: string, port: number, text = 'hello\r\n'): CaptureCase['question'] {
  return { host, port, text };
}

/** The same for every proxy. */
export const CASES: readonly CaptureCase[] = [
  {
    title: 'HTTP to the address of a service goes to its endpoint',
    caller: 'app',
    question: get(VIP.web, 80),
    answers: [`200 web: 10.8.0.2 to 10.8.0.1:8080 host ${VIP.web}`],
    log: [`web ${VIP.web}:80 10.8.0.1:8080 -`],
  },
  {
    title: 'a server that speaks first is heard on a port that is TCP',
    caller: 'app',
    question: say(VIP.database, 3306, ''),
    answers: ['database: 10.8.0.2 to 10.8.0.1:3307'],
    log: [`database ${VIP.database}:3306 10.8.0.1:3307 -`],
  },
  {
    title: 'HTTP to an address that nobody knows goes where it was meant to',
    caller: 'app',
    question: get(OUTSIDE.ipv4, 80),
    answers: [`200 outside: 10.8.0.2 to ${OUTSIDE.ipv4}:80 host ${OUTSIDE.ipv4}`],
    log: [`PassthroughCluster ${OUTSIDE.ipv4}:80 ${OUTSIDE.ipv4}:80 -`],
  },
  {
    title: 'what is not HTTP passes on a port of HTTP',
    caller: 'app',
    question: say(OUTSIDE.ipv4, 80),
    answers: [`outside: 10.8.0.2 to ${OUTSIDE.ipv4}:80`],
    log: [`PassthroughCluster ${OUTSIDE.ipv4}:80 ${OUTSIDE.ipv4}:80 -`],
  },
  {
    title: 'a port without a listener passes',
    caller: 'app',
    question: say(OUTSIDE.ipv4, 7000),
    answers: [`outside: 10.8.0.2 to ${OUTSIDE.ipv4}:7000`],
    log: [`PassthroughCluster ${OUTSIDE.ipv4}:7000 ${OUTSIDE.ipv4}:7000 -`],
  },
  {
    title: 'IPv6 passes',
    caller: 'app',
    question: get(OUTSIDE.ipv6, 80),
    answers: [`200 outside: fd00:8::2 to ${OUTSIDE.ipv6}:80 host [${OUTSIDE.ipv6}]`],
    log: [`PassthroughCluster [${OUTSIDE.ipv6}]:80 [${OUTSIDE.ipv6}]:80 -`],
  },
  {
    title: 'a workload that calls itself by a service passes both ways of its proxy',
    caller: 'app',
    question: get(VIP.self, 80),
    answers: [`200 app: 127.0.0.6 to 10.8.0.2:9080 host ${VIP.self}`],
    log: [`self ${VIP.self}:80 10.8.0.2:9080 -`, 'inbound|9080|| 10.8.0.2:9080 10.8.0.2:9080 -'],
  },
  {
    title: 'a workload that calls its own address is left alone',
    caller: 'app',
    question: get('10.8.0.2', 9080),
    answers: ['200 app: 10.8.0.2 to 10.8.0.2:9080 host 10.8.0.2'],
  },
  {
    title: 'a workload that calls loopback is left alone',
    caller: 'app',
    question: get('127.0.0.1', 9080),
    answers: ['200 app: 127.0.0.1 to 127.0.0.1:9080 host 127.0.0.1'],
  },
  {
    title: 'the proxy itself is left alone',
    caller: 'proxyUser',
    question: say(OUTSIDE.ipv4, 7000),
    answers: [`outside: 10.8.0.2 to ${OUTSIDE.ipv4}:7000`],
  },
  {
    title: 'HTTP from outside reaches the workload from 127.0.0.6',
    caller: 'remote',
    question: get('10.8.0.2', 9080),
    answers: ['200 app: 127.0.0.6 to 10.8.0.2:9080 host 10.8.0.2'],
    log: ['inbound|9080|| 10.8.0.2:9080 10.8.0.2:9080 -'],
  },
  {
    title: 'TCP from outside reaches the same port',
    caller: 'remote',
    question: say('10.8.0.2', 9080),
    answers: ['app: 127.0.0.6 to 10.8.0.2:9080'],
    log: ['inbound|9080|| 10.8.0.2:9080 10.8.0.2:9080 -'],
  },
  {
    title: 'a port that the mesh knows nothing of is reached all the same',
    caller: 'remote',
    question: say('10.8.0.2', 9999),
    answers: ['app: 127.0.0.6 to 10.8.0.2:9999'],
    log: ['InboundPassthroughCluster 10.8.0.2:9999 10.8.0.2:9999 -'],
  },
  {
    title: 'IPv6 from outside reaches the workload from ::6',
    caller: 'remote',
    question: get('fd00:8::2', 9080),
    answers: ['200 app: ::6 to fd00:8::2:9080 host [fd00:8::2]'],
    log: ['inbound6|9080|| [fd00:8::2]:9080 [fd00:8::2]:9080 -'],
  },
  {
    title: 'IPv6 from outside to an unknown port',
    caller: 'remote',
    question: say('fd00:8::2', 9999),
    answers: ['app: ::6 to fd00:8::2:9999'],
    log: ['InboundPassthroughClusterIpv6 [fd00:8::2]:9999 [fd00:8::2]:9999 -'],
  },
  {
    title: 'a port that is excluded is reached without the proxy',
    caller: 'remote',
    question: say('10.8.0.2', 15020),
    answers: ['status: 10.8.0.1 to 10.8.0.2:15020'],
  },
  {
    title: 'a port where nobody listens ends the connection',
    caller: 'remote',
    question: say('10.8.0.2', 9998),
    answers: REFUSED,
    log: ['InboundPassthroughCluster 10.8.0.2:9998 10.8.0.2:9998 UF,URX'],
  },
];

/** Calls to the proxy's own ports: each ends at once, and comes back to the proxy at most once. */
export const LOOP_CASES: readonly CaptureCase[] = [
  {
    title: 'a call to the outbound port ends',
    caller: 'app',
    question: say('10.8.0.2', 15001),
    answers: REFUSED,
    log: ['BlackHoleCluster 10.8.0.2:15001 - UH'],
  },
  {
    title: 'a call to the inbound port ends',
    caller: 'remote',
    question: say('10.8.0.2', 15006),
    answers: REFUSED,
    log: ['BlackHoleCluster 10.8.0.2:15006 - UH'],
  },
  {
    title: 'a call from outside to the outbound port passes inbound, and ends',
    caller: 'remote',
    question: say('10.8.0.2', 15001),
    answers: REFUSED,
    log: ['InboundPassthroughCluster 10.8.0.2:15001 10.8.0.2:15001 -', 'BlackHoleCluster 10.8.0.2:15001 - UH'],
  },
];

/** Where Envoy does another thing: it waits for a line to end that cannot be one of HTTP. */
export const OUR_CASES: readonly CaptureCase[] = [
  {
    title: 'a few bytes that cannot begin a request are not waited upon',
    caller: 'app',
    question: say(OUTSIDE.ipv4, 80, 'hello'),
    answers: [`outside: 10.8.0.2 to ${OUTSIDE.ipv4}:80`],
    log: [`PassthroughCluster ${OUTSIDE.ipv4}:80 ${OUTSIDE.ipv4}:80 -`],
  },
];
