import { randomBytes } from 'node:crypto';
import { Duplex } from 'node:stream';
import { errorMessage } from '@mizzen/core';
import type { KubeName } from './contract.ts';
import { KINDS_OF_KUBERNETES } from './kinds.ts';
import { KubeError } from './kube-error.ts';
import { objectPath } from './paths.ts';
import type { Transport } from './transport.ts';

// Each message begins with a channel: 0 is the data of the first port, 1 its error. The first message of a channel holds the port's number.
// Source: kubelet pkg/kubelet/cri/streaming/portforward/websocket.go (Kubernetes 1.34).
const PROTOCOL = 'v4.channel.k8s.io';
const CHANNEL = { data: 0, error: 1 } as const;
const PORT_BYTES = 2;
// RFC 6455 §5.2.
const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FINAL = 0x80;
const MASKED = 0x80;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/**
 * A connection to a port of a pod, its loopback included, as `kubectl port-forward` makes one. It ends with an error where nothing listens
 * there. Rejects with a KubeError where the API server refuses.
 */
export async function openPortForward(transport: Transport, pod: KubeName, port: number): Promise<Duplex> {
  const path = `${objectPath(KINDS_OF_KUBERNETES.Pod, pod)}/portforward`;
  const socket = await transport.upgrade({
    path,
    query: { ports: String(port) },
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      'sec-websocket-protocol': PROTOCOL,
    },
  });
  return new ForwardedConnection(socket, `port ${port} of pod ${pod.namespace ?? 'default'}/${pod.name}`);
}

class ForwardedConnection extends Duplex {
  readonly #socket: Duplex;
  readonly #what: string;
  readonly #skipped = new Set<number>();
  #unread: Buffer = Buffer.alloc(0);
  #fragments: Buffer[] = [];

  constructor(socket: Duplex, what: string) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#what = what;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.push(null));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(frameOf(OPCODE.binary, Buffer.concat([Buffer.of(CHANNEL.data), chunk])), (error) => done(error));
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(frameOf(OPCODE.close, Buffer.alloc(0)));
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  #receive(chunk: Buffer): void {
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    try {
      for (let frame = readFrame(this.#unread); frame; frame = readFrame(this.#unread)) {
        this.#unread = this.#unread.subarray(frame.length);
        this.#handle(frame);
      }
    } catch (thrown) {
      this.destroy(new KubeError(`${this.#what}: ${errorMessage(thrown)}`, { status: 0 }));
    }
  }

  #handle({ opcode, isFinal, payload }: Frame): void {
    switch (opcode) {
      case OPCODE.ping:
        this.#socket.write(frameOf(OPCODE.pong, payload));
        return;
      case OPCODE.close:
        this.push(null);
        return;
      case OPCODE.continuation:
      case OPCODE.text:
      case OPCODE.binary: {
        this.#fragments.push(payload);
        if (!isFinal) return;
        const message = Buffer.concat(this.#fragments);
        this.#fragments = [];
        this.#deliver(message[0] ?? 0, message.subarray(1));
        return;
      }
      default:
    }
  }

  #deliver(channel: number, content: Buffer): void {
    let data = content;
    if (!this.#skipped.has(channel)) {
      this.#skipped.add(channel);
      data = content.subarray(PORT_BYTES);
    }
    if (data.length === 0) return;
    if (channel === CHANNEL.error) this.destroy(new KubeError(`${this.#what}: ${data.toString('utf8').trim()}`, { status: 0 }));
    else if (!this.push(data)) this.#socket.pause();
  }
}

interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly payload: Buffer;
  /** Of the whole frame. */
  readonly length: number;
}

/** Undefined while a part of it is missing. A server does not mask (RFC 6455 §5.1). */
function readFrame(bytes: Buffer): Frame | undefined {
  if (bytes.length < 2) return undefined;
  const [first, second] = [bytes[0] as number, bytes[1] as number];
  if ((second & MASKED) !== 0) throw new Error('the API server sent a masked frame');
  const short = second & 0x7f;
  const head = short === 126 ? 4 : short === 127 ? 10 : 2;
  if (bytes.length < head) return undefined;
  const size = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
  if (size > MAX_MESSAGE_BYTES) throw new Error(`the API server sent a frame of ${size} bytes`);
  if (bytes.length < head + size) return undefined;
  return { opcode: first & 0x0f, isFinal: (first & FINAL) !== 0, payload: bytes.subarray(head, head + size), length: head + size };
}

/** A client masks (RFC 6455 §5.3). */
function frameOf(opcode: number, payload: Buffer): Buffer {
  const mask = randomBytes(4);
  const masked = Buffer.from(payload);
  for (let index = 0; index < masked.length; index++) masked[index] = (masked[index] as number) ^ (mask[index & 3] as number);
  return Buffer.concat([Buffer.of(FINAL | opcode), lengthOf(payload.length), mask, masked]);
}

function lengthOf(size: number): Buffer {
  if (size < 126) return Buffer.of(MASKED | size);
  const bytes = Buffer.alloc(size < 65_536 ? 3 : 9);
  bytes[0] = MASKED | (size < 65_536 ? 126 : 127);
  if (size < 65_536) bytes.writeUInt16BE(size, 1);
  else bytes.writeBigUInt64BE(BigInt(size), 1);
  return bytes;
}
