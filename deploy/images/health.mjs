// The health check of every image: asks the URL of the image (MIZZEN_HEALTH_URL names another) and ends with 0 where it answers 200.
import { get } from 'node:http';

const TIMEOUT_MS = 8_000;

const url = process.env.MIZZEN_HEALTH_URL;
if (!url) fail('MIZZEN_HEALTH_URL is not set: it names what to ask');
const request = get(url, { timeout: TIMEOUT_MS, agent: false }, (response) => {
  if (response.statusCode !== 200) fail(`${url} answers ${response.statusCode}`);
  process.exit(0);
});
request.on('timeout', () => fail(`${url} does not answer within ${TIMEOUT_MS} ms`));
request.on('error', (error) => fail(`${url}: ${error.message}`));

function fail(reason) {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}
