// The far end of the TCP benchmark, in a process of its own: reads into one buffer, so that it costs as little as it can.
import { createServer, Socket } from 'node:net';

const buffer = Buffer.alloc(256 * 1024);
const server = createServer({ pauseOnConnect: true }, (accepted) => {
  // Only a socket that is made by hand can be told to read into a buffer of ours.
  const handle = (accepted as unknown as { readonly _handle: object })._handle;
  (accepted as unknown as { _handle: object | null })._handle = null;
  const socket = new Socket({ handle, onread: { buffer, callback: () => true } } as unknown as ConstructorParameters<typeof Socket>[0]);
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());
  socket.resume();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
