import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { type AddressInfo, connect, createServer } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type Clock, silentLogger, systemClock } from '@mizzen/core';
import { NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, type Packet, type RecordType, TRUNCATED_RESPONSE } from 'dns-packet';
import { createAgentMetrics } from '../agent-metrics.ts';
import { DnsProxy } from './dns-proxy.ts';
import { framed, readDnsStream } from './dns-stream.ts';
import { buildNameIndex, type NameIndex } from './name-index.ts';
import type { UpstreamServer } from './upstream-resolver.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A DNS server of the test, on UDP and TCP: answers as `reply` says, or not at all. */
async function startUpstream(
  reply: (query: Packet, transport: 'udp' | 'tcp') => Partial<Packet> | Buffer | undefined,
): Promise<UpstreamServer & { readonly asked: string[] }> {
  const asked: string[] = [];
  const answerTo = (bytes: Buffer, transport: 'udp' | 'tcp'): Buffer | undefined => {
    const query = decode(bytes);
    asked.push(`${transport} ${query.questions?.[0]?.type} ${query.questions?.[0]?.name}`);
    const answer = reply(query, transport);
    if (answer === undefined || Buffer.isBuffer(answer)) return answer;
    return encode({ type: 'response', id: query.id ?? 0, questions: query.questions ?? [], ...answer });
  };
  const tcp = createServer((socket) => {
    socket.on('error', () => undefined);
    readDnsStream(socket, (message) => {
      const answer = answerTo(message, 'tcp');
      if (answer !== undefined) socket.write(framed(answer));
    });
  });
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as AddressInfo;
  const udp = createSocket('udp4', (message, from) => {
    const answer = answerTo(message, 'udp');
    if (answer !== undefined) udp.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(port, '127.0.0.1', resolve));
  closers.push(
    () => udp.close(),
    () => tcp.close(),
  );
  return { host: '127.0.0.1', port, asked };
}

const TABLE = create(NameTableSchema, {
  table: {
    'reviews.default.svc.cluster.local': { ips: ['10.96.0.7'], registry: 'Kubernetes', shortname: 'reviews', namespace: 'default' },
    'db.data.svc.cluster.local': { ips: ['10.96.0.8', 'fd00::8'], registry: 'Kubernetes', shortname: 'db', namespace: 'data' },
    'mysql.example.com': { ips: ['240.240.0.1'], registry: 'External' },
    '*.wild.example.com': { ips: ['240.240.0.2'], registry: 'External' },
    'peers.default.svc.cluster.local': {
      ips: Array.from({ length: 40 }, (_, index) => `10.244.0.${index + 1}`),
      registry: 'Kubernetes',
      shortname: 'peers',
      namespace: 'default',
    },
  },
});
const CONTEXT = {
  namespace: 'default',
  domain: 'default.svc.cluster.local',
  searchDomains: ['default.svc.cluster.local', 'svc.cluster.local'],
};

interface Started {
  readonly port: number;
  readonly metrics: string;
  ask(name: string, type: RecordType, more?: Partial<Packet>): Promise<Packet>;
  askTcp(name: string, type: RecordType): Promise<Packet>;
  send(bytes: Buffer): void;
}

interface ProxyOptions {
  readonly names?: () => NameIndex | undefined;
  readonly clock?: Clock;
}

const INDEX = buildNameIndex([TABLE], CONTEXT);

async function startProxy(
  upstream: readonly UpstreamServer[],
  { names = () => INDEX, clock = systemClock }: ProxyOptions = {},
): Promise<Started> {
  const agentMetrics = createAgentMetrics(Date.now);
  const proxy = new DnsProxy({
    port: 0,
    upstream,
    names,
    metrics: agentMetrics,
    clock,
    random: () => 0,
    logger: silentLogger,
  });
  await proxy.start();
  closers.push(() => proxy.close());
  const waiting = new Map<number, (answer: Packet) => void>();
  const client: UdpSocket = createSocket('udp4', (message) => {
    const answer = decode(message);
    waiting.get(answer.id ?? -1)?.(answer);
  });
  closers.push(() => client.close());
  let nextId = 100;
  const query = (name: string, type: RecordType, more: Partial<Packet> = {}): { id: number; bytes: Buffer } => {
    const id = nextId++;
    return { id, bytes: encode({ type: 'query', id, flags: 0x0100, questions: [{ name, type, class: 'IN' }], ...more }) };
  };
  return {
    port: proxy.port,
    get metrics() {
      return agentMetrics.registry.renderPrometheus();
    },
    ask(name, type, more) {
      const { id, bytes } = query(name, type, more);
      return new Promise((resolve) => {
        waiting.set(id, resolve);
        client.send(bytes, proxy.port, '127.0.0.1');
      });
    },
    askTcp(name, type) {
      return new Promise((resolve, reject) => {
        const socket = connect(proxy.port, '127.0.0.1', () => socket.write(framed(query(name, type).bytes)));
        socket.on('error', reject);
        readDnsStream(socket, (message) => {
          socket.destroy();
          resolve(decode(message));
        });
      });
    },
    send: (bytes) => client.send(bytes, proxy.port, '127.0.0.1'),
  };
}

/** Time-outs come twenty times as soon. */
const hurried: Clock = { ...systemClock, after: (delayMs, callback) => systemClock.after(delayMs / 20, callback) };

const dataOf = (packet: Packet): unknown[] => (packet.answers ?? []).map((answer: Answer) => ('data' in answer ? answer.data : undefined));
const rcodeOf = (packet: Packet): number => (packet.flags ?? 0) & 0xf;

describe('the DNS proxy', () => {
  it.each([
    ['a full name', 'reviews.default.svc.cluster.local', 'A', ['10.96.0.7']],
    ['a name in another case', 'Reviews.Default.SVC.cluster.local', 'A', ['10.96.0.7']],
    ['a short name of its own namespace', 'reviews', 'A', ['10.96.0.7']],
    ['a name with its namespace', 'db.data', 'A', ['10.96.0.8']],
    ['a name with namespace and svc', 'db.data.svc', 'A', ['10.96.0.8']],
    ['an IPv6 address', 'db.data', 'AAAA', ['fd00::8']],
    ['a name outside the cluster', 'mysql.example.com', 'A', ['240.240.0.1']],
    ['a name below a wildcard', 'a.b.wild.example.com', 'A', ['240.240.0.2']],
    ['a reverse name', '7.0.96.10.in-addr.arpa', 'PTR', ['reviews.default.svc.cluster.local']],
    ['a reverse name of IPv6', `8.${'0.'.repeat(29)}d.f.ip6.arpa`, 'PTR', ['db.data.svc.cluster.local']],
    ['no IPv6 address of a name that has none', 'reviews.default.svc.cluster.local', 'AAAA', []],
  ] as const)('answers %s', async (_, name, type, expected) => {
    const upstream = await startUpstream(() => ({ flags: 3 }));
    const proxy = await startProxy([upstream]);
    const answer = await proxy.ask(name, type);
    expect([rcodeOf(answer), dataOf(answer)]).toEqual([0, expected]);
    expect((answer.flags ?? 0) & AUTHORITATIVE_ANSWER).not.toBe(0);
    expect(answer.questions?.[0]?.name).toBe(name);
    expect((answer.answers ?? []).map((record) => ('ttl' in record ? record.ttl : 0))).toEqual(expected.map(() => 30));
    expect(upstream.asked).toEqual([]);
  });

  it('answers a name with the first search domain appended by a chain, which spares the other questions', async () => {
    const proxy = await startProxy([]);
    const answer = await proxy.ask('mysql.example.com.default.svc.cluster.local', 'A');
    expect(answer.answers).toMatchObject([
      { name: 'mysql.example.com.default.svc.cluster.local', type: 'CNAME', data: 'mysql.example.com' },
      { name: 'mysql.example.com', type: 'A', data: '240.240.0.1' },
    ]);
  });

  it('does not know a short name of another namespace, and forwards it', async () => {
    const upstream = await startUpstream(() => ({ flags: 3 }));
    const proxy = await startProxy([upstream]);
    expect(rcodeOf(await proxy.ask('db', 'A'))).toBe(3);
    expect(upstream.asked).toEqual(['udp A db']);
  });

  it('says that an answer does not fit over UDP, unless the asker takes larger packets, and gives it whole over TCP', async () => {
    const proxy = await startProxy([]);
    const short = await proxy.ask('peers', 'A');
    expect([(short.flags ?? 0) & TRUNCATED_RESPONSE, dataOf(short)]).toEqual([TRUNCATED_RESPONSE, []]);
    const edns = await proxy.ask('peers', 'A', {
      additionals: [
        { type: 'OPT', name: '.', udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
      ],
    });
    expect(dataOf(edns)).toHaveLength(40);
    expect(edns.additionals?.[0]?.type).toBe('OPT');
    expect(dataOf(await proxy.askTcp('peers', 'A'))).toHaveLength(40);
  });

  it('forwards what it does not know, over the transport of the question, and gives the answer back as it is', async () => {
    const upstream = await startUpstream((query) => ({
      flags: 0x0180,
      answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', data: '93.184.216.34', ttl: 77 }],
    }));
    const proxy = await startProxy([upstream]);
    expect((await proxy.ask('example.com', 'A')).answers).toMatchObject([{ data: '93.184.216.34', ttl: 77 }]);
    expect(dataOf(await proxy.askTcp('example.com', 'A'))).toEqual(['93.184.216.34']);
    expect(upstream.asked).toEqual(['udp A example.com', 'tcp A example.com']);
    expect(proxy.metrics).toContain('istio_agent_dns_requests_total 2\n');
    expect(proxy.metrics).toContain('istio_agent_dns_upstream_requests_total 2\n');
    expect(proxy.metrics).toContain('istio_agent_dns_upstream_request_duration_seconds_count 2\n');
  });

  it('forwards everything while no name table has come', async () => {
    const upstream = await startUpstream((query) => ({
      answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', data: '1.2.3.4' }],
    }));
    const proxy = await startProxy([upstream], { names: () => undefined });
    expect(dataOf(await proxy.ask('reviews.default.svc.cluster.local', 'A'))).toEqual(['1.2.3.4']);
    expect(upstream.asked).toHaveLength(1);
  });

  it('asks again over TCP when the upstream cut its answer', async () => {
    const upstream = await startUpstream((query, transport) =>
      transport === 'udp' ? { flags: 0x0200 } : { answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', data: '5.6.7.8' }] },
    );
    const proxy = await startProxy([upstream]);
    expect(dataOf(await proxy.ask('big.example.com', 'A'))).toEqual(['5.6.7.8']);
    expect(upstream.asked).toEqual(['udp A big.example.com', 'tcp A big.example.com']);
  });

  it('asks the next server when one is away, and that one first from then on', async () => {
    const away = createSocket('udp4');
    await new Promise<void>((resolve) => away.bind(0, '127.0.0.1', resolve));
    const { port } = away.address();
    await new Promise<void>((resolve) => away.close(resolve));
    const upstream = await startUpstream((query) => ({
      answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', data: '1.1.1.1' }],
    }));
    const proxy = await startProxy([{ host: '127.0.0.1', port }, upstream]);
    expect(dataOf(await proxy.ask('one.example.com', 'A'))).toEqual(['1.1.1.1']);
    expect(dataOf(await proxy.ask('two.example.com', 'A'))).toEqual(['1.1.1.1']);
  });

  it('takes no answer with another id or to another question', async () => {
    const upstream = await startUpstream((query) => {
      const name = query.questions?.[0]?.name ?? '';
      const forged = name.startsWith('id.')
        ? { id: ((query.id ?? 0) + 1) & 0xffff, questions: query.questions ?? [] }
        : { id: query.id ?? 0, questions: [{ name: 'other.example.com', type: 'A' as const }] };
      return encode({ type: 'response', ...forged, answers: [{ type: 'A', name, data: '6.6.6.6' }] });
    });
    const proxy = await startProxy([upstream], { clock: hurried });
    const answers = await Promise.all([proxy.ask('id.example.com', 'A'), proxy.ask('question.example.com', 'A')]);
    expect(answers.map((answer) => [rcodeOf(answer), dataOf(answer)])).toEqual([
      [2, []],
      [2, []],
    ]);
    expect(proxy.metrics).toContain('istio_agent_dns_upstream_failures_total 2\n');
  });

  it('answers SERVFAIL where there is no server, and never asks itself', async () => {
    const proxy = await startProxy([]);
    expect(rcodeOf(await proxy.ask('example.com', 'A'))).toBe(2);
    const metrics = createAgentMetrics(Date.now);
    const port = proxy.port;
    const looped = new DnsProxy({
      port,
      upstream: [{ host: '127.0.0.1', port }],
      names: () => undefined,
      metrics,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
    });
    const question = encode({ type: 'query', id: 7, questions: [{ name: 'example.com', type: 'A' }] });
    expect(rcodeOf(decode((await looped.answer(question, 'udp')) as Buffer))).toBe(2);
  });

  it('does not let another record type of a mesh name be denied together with the name', async () => {
    const upstream = await startUpstream(() => ({ flags: 3 }));
    const proxy = await startProxy([upstream]);
    expect(rcodeOf(await proxy.ask('mysql.example.com', 'MX'))).toBe(0);
    expect(rcodeOf(await proxy.ask('nobody.example.com', 'MX'))).toBe(3);
  });

  it('goes on after a question that it cannot answer', async () => {
    const lookup: NameIndex['lookup'] = (name, type) => {
      if (name.startsWith('broken')) throw new Error('a mistake of ours');
      return INDEX.lookup(name, type);
    };
    const proxy = await startProxy([], { names: () => ({ size: INDEX.size, lookup, knows: (name) => INDEX.knows(name) }) });
    const question = encode({ type: 'query', id: 1, flags: 0x0100, questions: [{ name: 'broken', type: 'A', class: 'IN' }] });
    proxy.send(question);
    const socket = connect(proxy.port, '127.0.0.1', () => socket.write(framed(question)));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(dataOf(await proxy.ask('reviews', 'A'))).toEqual(['10.96.0.7']);
  });

  it('drops and counts what is no question, and goes on', async () => {
    const proxy = await startProxy([]);
    proxy.send(Buffer.from('GET / HTTP/1.1'));
    proxy.send(Buffer.alloc(3));
    proxy.send(Buffer.concat([Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 200]), Buffer.alloc(20)]));
    proxy.send(encode({ type: 'response', id: 9, questions: [{ name: 'reviews', type: 'A' }] }));
    expect(dataOf(await proxy.ask('reviews', 'A'))).toEqual(['10.96.0.7']);
    expect(proxy.metrics).toContain('istio_agent_dns_malformed_requests_total 4\n');
  });
});
