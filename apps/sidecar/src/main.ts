// Each job is loaded by itself: a hook of the kubelet must not wait for a proxy to be read.
const [job, ...rest] = process.argv.slice(2);

switch (job) {
  case 'iptables': {
    const { runIptables } = await import('@mizzen/agent/capture');
    process.exitCode = await runIptables(rest);
    break;
  }
  case 'wait':
  case 'drain': {
    const { runAgentCommand } = await import('./agent-commands.ts');
    process.exitCode = await runAgentCommand(job, rest);
    break;
  }
  default: {
    const [{ runApp }, { sidecarApp }] = await Promise.all([import('@mizzen/core'), import('./sidecar-app.ts')]);
    await runApp(sidecarApp);
  }
}
