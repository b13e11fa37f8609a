import type { Socket } from 'node:net';

/** Reads the messages of a DNS connection: each after its length in two bytes. Source: RFC 1035 4.2.2. */
export function readDnsStream(socket: Socket, onMessage: (message: Buffer) => void): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= 2) {
      const end = 2 + pending.readUInt16BE(0);
      if (pending.length < end) return;
      onMessage(Buffer.from(pending.subarray(2, end)));
      pending = pending.subarray(end);
    }
  });
}

/** A message with its length before it. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
