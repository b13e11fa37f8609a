// Preloaded (`node --import`) into every process that a supervisor starts. Standard input is a pipe whose other end only the supervisor
// holds: when it dies, however it dies, the pipe ends, and the process closes as it would on SIGTERM.
import { isMainThread } from 'node:worker_threads';

const FORCED_AFTER_MS = 15_000;

if (isMainThread) {
  const pipe = process.stdin;
  const leave = () => {
    setTimeout(() => process.exit(1), FORCED_AFTER_MS).unref();
    process.kill(process.pid, 'SIGTERM');
  };
  pipe.once('end', leave);
  pipe.once('error', leave);
  pipe.resume();
  pipe.unref?.();
}
