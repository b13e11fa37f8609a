import type { ClientHttp2Session } from 'node:http2';
import { grpcMessage, grpcMessages } from './greeter.ts';

export interface Chat {
  readonly httpStatus: number;
  readonly answers: readonly string[];
  /** grpc-status. */
  readonly status: string;
}

export interface ChatOptions {
  readonly authority: string;
  /** What is said, one thing after the other, each once the one before was answered. */
  readonly texts: readonly string[];
  /** Default: where the greeter chats. */
  readonly path?: string;
}

/** One gRPC call of the greeter over a session that its caller closes. */
export function chatOver(client: ClientHttp2Session, { authority, texts, path = '/greeter.Greeter/Chat' }: ChatOptions): Promise<Chat> {
  return new Promise((resolve, reject) => {
    client.on('error', reject);
    const stream = client.request(
      { ':method': 'POST', ':path': path, ':authority': authority, 'content-type': 'application/grpc', te: 'trailers' },
      { endStream: false },
    );
    const rest = [...texts];
    const answers: string[] = [];
    let httpStatus = 0;
    let status = '';
    const next = (): void => {
      const text = rest.shift();
      if (text === undefined) stream.end();
      else stream.write(grpcMessage(text));
    };
    stream.on('response', (head) => {
      httpStatus = head[':status'] ?? 0;
      status = String(head['grpc-status'] ?? '');
    });
    stream.on('trailers', (trailers) => {
      status = String(trailers['grpc-status'] ?? '');
    });
    const read = grpcMessages((text) => {
      answers.push(text);
      next();
    });
    stream.on('data', read);
    stream.on('error', reject);
    stream.on('end', () => resolve({ httpStatus, answers, status }));
    next();
  });
}
