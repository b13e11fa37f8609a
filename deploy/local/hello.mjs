// A program to join to the mesh with `mizzen run`. It knows nothing of the mesh: it listens on PORT (of HOST, or of the loopback), calls
// another service by its name, and tells who asked, as its sidecar has it from the caller's certificate.
import { createServer } from 'node:http';

const server = createServer(async (request, response) => {
  const caller = /URI=([^;,]+)/.exec(request.headers['x-forwarded-client-cert'] ?? '')?.[1] ?? 'somebody unknown';
  try {
    const details = await fetch('http://details:9080/details/0');
    response.end(`hello ${caller}\ndetails answers ${details.status}: ${await details.text()}\n`);
  } catch (error) {
    response.writeHead(502).end(`details cannot be reached: ${error.message}\n`);
  }
});
server.listen(Number(process.env.PORT), process.env.HOST ?? '127.0.0.1');
