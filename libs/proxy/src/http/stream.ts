import type { Socket } from 'node:net';
import type { TlsInfo } from '../contract.ts';
import type { HeaderMap } from './headers.ts';

/** The beginning of a request as a codec decoded it, the same for every version of HTTP. */
export interface RequestHead {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  method: string;
  /** With query; '' for CONNECT. */
  path: string;
  authority: string;
  /** `http` or `https`; '' where the request did not say (HTTP/1 in origin form). */
  scheme: string;
  readonly headers: HeaderMap;
  /** Whether a body (be it empty) may follow; the end is told by `onEnd`. */
  hasBody: boolean;
  /** -1 where the length is not known. 0 is said explicitly by the sender, as in `content-length: 0`. Changed by filters that change the body. */
  contentLength: number;
  /** Lower-cased upgrade type (`websocket`), or ''. */
  readonly upgrade: string;
  readonly expectsContinue: boolean;
  /** Bytes of the head on the wire. */
  readonly wireBytes: number;
  /** Of those, what the header fields take: without a start line and line ends that HTTP/1 has, compressed in HTTP/2. Absent: all. */
  readonly headerBytes?: number;
}

export interface ResponseHead {
  status: number;
  readonly headers: HeaderMap;
  /** False for answers that have none: HEAD, 204, 304. */
  hasBody: boolean;
  contentLength: number;
  readonly upgrade: string;
  readonly wireBytes: number;
  /** As in a request's head. */
  readonly headerBytes?: number;
}

/** Receives the rest of a message, in order. After `onEnd` or a reset nothing follows. */
export interface MessageReceiver {
  onData(chunk: Buffer): void;
  onTrailers(trailers: HeaderMap): void;
  onEnd(): void;
  /** Everything that one read brought has been given: the moment to write what was gathered. */
  onReadEnd(): void;
  /** What was sent to this side has been taken; sending may go on. */
  onWritable(): void;
}

/** The downstream side of a stream, as the codec tells it. */
export interface RequestReceiver extends MessageReceiver {
  /** The client is gone, or what it sent is not HTTP any more. `code`: of HTTP/2. */
  onDownstreamReset(details: string, code?: number): void;
}

/** Sends a response. Nothing may be sent after `end` or `reset`. */
export interface ResponseSender {
  sendContinue(): void;
  sendHead(head: ResponseHead, options: { readonly closesConnection: boolean }): void;
  /** False: wait for `onWritable` before sending more. */
  sendData(chunk: Buffer): boolean;
  sendTrailers(trailers: HeaderMap): void;
  end(): void;
  /** Writes what was gathered. */
  flush(): void;
  /** Ends the exchange at once without a proper end of the message. */
  reset(): void;
  pauseRequest(): void;
  resumeRequest(): void;
  /**
   * Gives the connection away, with what was read of it and not used; only after a head with `upgrade`. Nothing of it is ours afterwards.
   */
  handOver(): { readonly socket: Socket; readonly initialData: Buffer | undefined };
  /** Wire bytes of the response so far. */
  readonly sentWireBytes: number;
  /** What the header fields of its head took of them. */
  readonly sentHeaderBytes: number;
}

export type ResetReason =
  | 'connection-failure'
  | 'connection-timeout'
  | 'connection-termination'
  | 'remote-reset'
  /** The peer says that it did nothing with the request: REFUSED_STREAM, or above the last stream of its GOAWAY (RFC 9113 §8.7). */
  | 'remote-refused'
  | 'local-reset'
  | 'overflow'
  | 'protocol-error';

/** The upstream side of a stream. */
export interface ResponseReceiver extends MessageReceiver {
  /** A connection is there; the request may be sent now. */
  onReady(stream: UpstreamStream): void;
  onContinue(): void;
  onHead(head: ResponseHead): void;
  /** The stream ended without a complete response. Also told when no connection could be had; then `onReady` never was. */
  onUpstreamReset(reason: ResetReason, transportFailure: string): void;
}

/** Sends a request upstream. */
export interface UpstreamStream {
  readonly tls: TlsInfo | undefined;
  readonly localAddress: string;
  /** What the stream goes over: for those who ask about the connection, not to be read or written. */
  readonly socket: Socket;
  readonly protocol: RequestHead['protocol'] | '';
  /** The connection carried requests before. */
  readonly isReused: boolean;
  /** Bytes that the upstream sent for this stream. */
  readonly receivedWireBytes: number;
  readonly sentWireBytes: number;
  readonly sentHeaderBytes: number;
  sendHead(head: RequestHead, extraHeaders: string): void;
  sendData(chunk: Buffer): boolean;
  sendTrailers(trailers: HeaderMap): void;
  end(): void;
  flush(): void;
  reset(): void;
  pauseResponse(): void;
  resumeResponse(): void;
}
