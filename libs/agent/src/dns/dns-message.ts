import { decode, type Packet } from 'dns-packet';
import { addressBytes } from './addresses.ts';
import type { NameRecord } from './name-index.ts';

/** A question as it came. */
export interface DnsQuery {
  readonly bytes: Buffer;
  readonly id: number;
  /** As the asker spelled it: it compares the answer with its own spelling. */
  readonly name: string;
  /** `A`, `AAAA`, `PTR`, … */
  readonly type: string;
  /** The question section, which answers repeat. */
  readonly question: Buffer;
  /** What may be asked of here: one question of the usual kind. */
  readonly isSupported: boolean;
  readonly hasEdns: boolean;
  /** Longest answer that the asker takes over UDP. */
  readonly maxUdpBytes: number;
}

export const RCODE = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

// In case a client keeps the answer, it is short, so that a new address is soon asked for. Source: istio defaultTTLInSeconds (1.32).
const TTL_S = 30;
const HEADER_BYTES = 12;
const MIN_UDP_BYTES = 512;
const CLASS_IN = 1;
const TYPE_CODE = { A: 1, CNAME: 5, PTR: 12, AAAA: 28 } as const;
const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100, recursionAvailable: 0x0080 } as const;
const OPCODE_MASK = 0x7800;
// An OPT record that says that this side takes 1232 bytes. Source: RFC 6891 6.1.2; DNS flag day 2020 for the size.
const OPT_RECORD = Buffer.from([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);

/** Reads a question. undefined for what is none: too short, an answer, or not DNS. */
export function parseQuery(bytes: Buffer): DnsQuery | undefined {
  if (bytes.length < HEADER_BYTES || (bytes.readUInt16BE(2) & FLAG.response) !== 0) return undefined;
  let packet: Packet;
  try {
    packet = decode(bytes);
  } catch {
    return undefined;
  }
  const [question] = packet.questions ?? [];
  const edns = packet.additionals?.find((record) => record.type === 'OPT');
  const end = endOfQuestion(bytes);
  if (end === undefined) return undefined;
  return {
    bytes,
    id: bytes.readUInt16BE(0),
    name: question?.name ?? '',
    type: question?.type ?? '',
    question: bytes.subarray(HEADER_BYTES, end),
    isSupported: packet.questions?.length === 1 && (bytes.readUInt16BE(2) & OPCODE_MASK) === 0 && question?.class === 'IN',
    hasEdns: edns !== undefined,
    maxUdpBytes: Math.max(MIN_UDP_BYTES, edns?.type === 'OPT' ? (edns.udpPayloadSize ?? 0) : 0),
  };
}

/** The answer of one who knows: `records` may be none. Names are compressed, so that many addresses fit into one UDP packet. */
export function encodeAnswer(query: DnsQuery, records: readonly NameRecord[]): Buffer {
  const names = new Map([[query.name, HEADER_BYTES]]);
  let at = HEADER_BYTES + query.question.length;
  const parts = records.map((record) => {
    const part = encodeRecord(record, names, at);
    at += part.length;
    return part;
  });
  const flags = FLAG.authoritative | (query.bytes.readUInt16BE(2) & FLAG.recursionDesired) | FLAG.recursionAvailable;
  return assemble(query, { flags, answers: parts });
}

/** An answer that says only how it went. */
export function encodeRcode(query: DnsQuery, rcode: Rcode): Buffer {
  const flags = (query.bytes.readUInt16BE(2) & (FLAG.recursionDesired | OPCODE_MASK)) | FLAG.recursionAvailable | rcode;
  return assemble(query, { flags, answers: [] });
}

/** What fits the asker over UDP: the answer, or one without records that says to ask again over TCP. */
export function fitUdp(query: DnsQuery, answer: Buffer): Buffer {
  if (answer.length <= query.maxUdpBytes) return answer;
  return assemble(query, { flags: (answer.readUInt16BE(2) & ~FLAG.response) | FLAG.truncated, answers: [] });
}

export function isTruncated(answer: Buffer): boolean {
  return (answer.readUInt16BE(2) & FLAG.truncated) !== 0;
}

export function rcodeOf(answer: Buffer): number {
  return answer.readUInt16BE(2) & 0x000f;
}

/** The same message under another id. */
export function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

/** Whether it is the answer to this question, under `id`: anything else may be forged. Source: RFC 5452 9.1. */
export function isAnswerTo(query: DnsQuery, id: number, answer: Buffer): boolean {
  if (answer.length < HEADER_BYTES || answer.readUInt16BE(0) !== id || (answer.readUInt16BE(2) & FLAG.response) === 0) return false;
  const { question } = query;
  const repeated = answer.subarray(HEADER_BYTES, HEADER_BYTES + question.length);
  // A server that failed may leave the question out.
  if (answer.readUInt16BE(4) === 0) return rcodeOf(answer) !== RCODE.noError;
  return repeated.length === question.length && repeated.toString('latin1').toLowerCase() === question.toString('latin1').toLowerCase();
}

function assemble(query: DnsQuery, { flags, answers }: { flags: number; answers: readonly Buffer[] }): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(flags | FLAG.response, 2);
  header.writeUInt16BE(query.question.length === 0 ? 0 : 1, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(query.hasEdns ? 1 : 0, 10);
  return Buffer.concat([header, query.question, ...answers, ...(query.hasEdns ? [OPT_RECORD] : [])]);
}

function encodeRecord(record: NameRecord, names: Map<string, number>, at: number): Buffer {
  const owner = encodeName(record.name, names, at);
  const dataAt = at + owner.length + 10;
  const data = 'address' in record ? (addressBytes(record.address) ?? Buffer.alloc(0)) : encodeName(record.target, names, dataAt);
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(TYPE_CODE[record.type], 0);
  fixed.writeUInt16BE(CLASS_IN, 2);
  fixed.writeUInt32BE(TTL_S, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, fixed, data]);
}

// A name that stands in the message already is a pointer to there. Source: RFC 1035 4.1.4.
function encodeName(name: string, names: Map<string, number>, at: number): Buffer {
  const known = names.get(name);
  if (known !== undefined) return Buffer.of(0xc0 | (known >> 8), known & 0xff);
  if (at < 0x4000) names.set(name, at);
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(Buffer.byteLength(label)), Buffer.from(label)]), Buffer.of(0)]);
}

function endOfQuestion(bytes: Buffer): number | undefined {
  if (bytes.readUInt16BE(4) === 0) return HEADER_BYTES;
  let at = HEADER_BYTES;
  for (let length = bytes[at]; length !== 0; length = bytes[at]) {
    // A question has nothing before it that it could point to.
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
  }
  return at + 5 <= bytes.length ? at + 5 : undefined;
}
