import { silentLogger, systemClock } from '@mizzen/core';
import { createProxy, loadBootstrap, type MeshProxy } from '@mizzen/proxy';

/** What an exchange under way is given when the proxy closes: enough for one that ends, little for one that a test leaves open. */
const DRAIN_MS = 200;

/** Our proxy in this process, on a bootstrap as Envoy is given one; resolves once it serves. `onLog` gets what goes to /dev/stdout. */
export async function startOurProxy(
  bootstrap: Readonly<Record<string, unknown>>,
  onLog: (text: string) => void = () => undefined,
): Promise<MeshProxy> {
  const proxy = createProxy({
    bootstrap: await loadBootstrap(JSON.stringify(bootstrap), 'json'),
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    drainTimeMs: DRAIN_MS,
    accessLogStdout: { write: onLog },
  });
  await proxy.start();
  await proxy.ready.until((isReady) => isReady);
  return proxy;
}
