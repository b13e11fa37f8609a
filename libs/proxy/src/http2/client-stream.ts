import type { Socket } from 'node:net';
import type { TlsInfo } from '../contract.ts';
import type { HeaderMap } from '../http/headers.ts';
import type { RequestHead, ResetReason, ResponseHead, ResponseReceiver, UpstreamStream } from '../http/stream.ts';
import type { StreamAbort } from './base-connection.ts';
import type { Http2ClientConnection } from './client-connection.ts';
import { extraFields } from './extra-fields.ts';
import { ERROR } from './frames.ts';
import { encodeFields } from './output.ts';
import { Http2Stream } from './stream.ts';

/** One request that is sent over HTTP/2, and what receives its response. */
export class Http2ClientStream extends Http2Stream implements UpstreamStream {
  readonly #client: Http2ClientConnection;
  readonly isReused: boolean;
  listener: ResponseReceiver | undefined;
  method = '';
  upgrade = '';
  /** Bytes go both ways as they are. */
  isTunnel = false;

  constructor(client: Http2ClientConnection, receiver: ResponseReceiver, isReused: boolean) {
    super(client);
    this.#client = client;
    this.listener = receiver;
    this.isReused = isReused;
  }

  get tls(): TlsInfo | undefined {
    return this.#client.tls;
  }

  get localAddress(): string {
    return this.#client.localAddress;
  }

  get socket(): Socket {
    return this.#client.upstreamSocket;
  }

  get protocol(): 'HTTP/2' {
    return 'HTTP/2';
  }

  get receivedWireBytes(): number {
    return this.receivedBytes;
  }

  get sentWireBytes(): number {
    return this.sentBytes;
  }

  get sentHeaderBytes(): number {
    return this.headBytes;
  }

  sendHead(head: RequestHead, extraHeaders: string): void {
    if (this.isClosed) return;
    if (!this.#client.openStream(this, head.upgrade !== '')) return;
    this.method = head.method;
    this.upgrade = head.upgrade;
    const { output } = this.connection;
    const { encoder } = output;
    encoder.begin();
    const isTunnel = head.upgrade !== '' || head.method === 'CONNECT';
    encoder.field(':method', head.upgrade !== '' ? 'CONNECT' : head.method);
    if (head.upgrade !== '' || head.method !== 'CONNECT') {
      encoder.field(':path', head.path);
      encoder.field(':scheme', head.scheme !== '' ? head.scheme : this.tls === undefined ? 'http' : 'https');
    }
    encoder.field(':authority', head.authority);
    if (head.upgrade !== '') encoder.field(':protocol', head.upgrade);
    encodeFields(encoder, head.headers);
    if (extraHeaders !== '') encodeFields(encoder, extraFields(extraHeaders));
    if (head.contentLength >= 0 && !isTunnel) encoder.field('content-length', String(head.contentLength));
    const isEnd = !head.hasBody && !isTunnel;
    if (isEnd) this.isLocalDone = true;
    output.writeHeaders(this, isEnd);
    this.headBytes = this.sentBytes;
  }

  sendData(chunk: Buffer): boolean {
    return this.sendBody(chunk);
  }

  sendTrailers(trailers: HeaderMap): void {
    this.sendTrailerBlock(trailers);
  }

  end(): void {
    this.finishSending();
  }

  flush(): void {
    // Frames are written at the end of the round of the event loop in any case.
  }

  reset(): void {
    this.listener = undefined;
    this.#client.resetByUser(this);
  }

  pauseResponse(): void {
    this.pauseReceiving();
  }

  resumeResponse(): void {
    this.resumeReceiving();
  }

  /** The response, as the rest of the proxy knows it: what is 200 to an extended CONNECT is 101 (RFC 8441 §4). */
  toHead(head: ResponseHead, isWithoutBody: boolean): ResponseHead {
    const { status } = head;
    const isAccepted = status >= 200 && status < 300;
    this.isTunnel = isAccepted && (this.upgrade !== '' || this.method === 'CONNECT');
    if (this.upgrade !== '' && isAccepted) return { ...head, status: 101, hasBody: true, contentLength: -1, upgrade: this.upgrade };
    if (this.method === 'CONNECT' && isAccepted) return { ...head, hasBody: true, contentLength: -1, upgrade: 'connect' };
    if (!isWithoutBody) return head;
    return { ...head, hasBody: false, contentLength: status === 204 ? -1 : head.contentLength };
  }

  onAborted({ code, isByPeer, details }: StreamAbort): void {
    const receiver = this.listener;
    this.listener = undefined;
    // A response that was complete stays so, whatever became of the rest of the request.
    if (!this.isRemoteDone) receiver?.onUpstreamReset(reasonOf(code, isByPeer, details), '');
  }
}

function reasonOf(code: number, isByPeer: boolean, details: string): ResetReason {
  if (!isByPeer) return 'local-reset';
  if (details === 'http2.remote_refuse') return 'remote-refused';
  if (details === 'http2.remote_reset') return code === ERROR.connectError ? 'connection-failure' : 'remote-reset';
  return details === 'downstream_remote_disconnect' ? 'connection-termination' : 'protocol-error';
}
