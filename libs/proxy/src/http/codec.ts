import type { RequestHead, RequestReceiver, ResponseSender } from './stream.ts';

/** Why what came is not a request: what the client is answered, and what is logged. */
export interface InvalidRequest {
  readonly status: number;
  /** As %RESPONSE_CODE_DETAILS% prints it. */
  readonly details: string;
}

/** The user of the server's side of a connection: the connection manager. The same for every version of HTTP. */
export interface ServerCodecEvents {
  /** The head is valid. What follows of the request goes to the receiver that is answered. */
  onRequest(head: RequestHead, sender: ResponseSender): RequestReceiver;
  /** What came is not HTTP as we accept it. HTTP/1: the answer closes the connection. HTTP/2: only of a stream that can be answered. */
  onInvalidRequest(failure: InvalidRequest, sender: ResponseSender): void;
  /** The connection is closed for the client's fault: it breaks the protocol, or resets most of what it asks for. HTTP/2 only. */
  onConnectionFault?(fault: 'protocol' | 'premature-resets'): void;
  /** Called exactly once, after the last stream was reset or ended. */
  onClose(): void;
}

/** The server's side of one connection, whichever version of HTTP. */
export interface ServerCodec {
  /** Begins to read; `initialData` came before. */
  start(initialData: Buffer | undefined): void;
  /** Idle: closed soon. Otherwise the exchanges under way are the last ones. */
  drain(): void;
}
