import { execFile } from 'node:child_process';
import { checkGrpcHealth } from '../grpc-health.ts';
import { sendGet } from '../http-get.ts';
import { checkTcp } from '../tcp-check.ts';
import type { ReadinessProbe } from './readiness-probe.ts';

/** How the program is reached. */
export interface CheckRoute {
  readonly host: string;
  readonly sourceAddress: string | undefined;
}

/** Carries out a probe once. Resolves with what is wrong, or undefined where nothing is; never rejects. */
export async function runCheck({ check, timeoutMs }: ReadinessProbe, route: CheckRoute): Promise<string | undefined> {
  const localAddress = route.sourceAddress;
  try {
    switch (check.kind) {
      case 'http': {
        const { port, path, isHttps, headers } = check;
        const { code } = await sendGet({
          ...{ host: check.host ?? route.host, port, path, isHttps, headers, localAddress, timeoutMs },
          maxBodyBytes: 1,
        });
        return code >= 200 && code < 400 ? undefined : `the program answers ${code}`;
      }
      case 'tcp':
        await checkTcp({ host: check.host ?? route.host, port: check.port, localAddress, timeoutMs });
        return undefined;
      case 'grpc': {
        const { port, service } = check;
        const status = await checkGrpcHealth({ host: route.host, port, localAddress, service, timeoutMs, userAgent: 'mizzen' });
        return status === 'SERVING' ? undefined : `the program says ${status}`;
      }
      case 'exec':
        return await runCommand(check.command, timeoutMs);
    }
  } catch (thrown) {
    return `the program does not answer: ${(thrown as Error).message}`;
  }
}

function runCommand([file, ...args]: readonly [string, ...string[]], timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: timeoutMs, killSignal: 'SIGKILL' }, (error) => {
      resolve(
        error === null ? undefined : `${file} failed: ${error.killed ? `no end after ${timeoutMs} ms` : error.message.split('\n', 1)[0]}`,
      );
    });
  });
}
