import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DockerComposeEnvironment, type StartedDockerComposeEnvironment, type StartedTestContainer } from 'testcontainers';
import { runMizzen } from '../command.ts';
import { until } from '../until.ts';
import { workspace } from '../workspace.ts';
import { BESIDE_LABEL, SIDECAR_FILES, startComposeProgram, startPeerContainer } from './compose-program.ts';
import { adminCommand, docker } from './containers.ts';
import type { Home, MeshProgram, OutsideProgram, RunningMeshProgram, RunningOutside, TcpAddress, TcpTarget } from './home.ts';

/** Fixed, so that what a killed run left behind is found and removed by the next one. */
const PROJECT = 'mizzen-e2e';
const FOLDER = path.join(workspace, 'deploy/compose');
const START_DEADLINE_MS = 240_000;
const BOOK_PORT = 8443;
const SETTLE_TIMEOUT = '60s';

/** The images of this tree as one compose stack: deploy/compose as it is, on free ports. */
export async function startComposeHome(): Promise<Home> {
  removeStack();
  try {
    const environment = await new DockerComposeEnvironment(FOLDER, 'compose.yaml')
      .withProjectName(PROJECT)
      .withEnvironment({ MIZZEN_GATEWAY_PORT: '0', MIZZEN_GATEWAY_HTTPS_PORT: '0', MIZZEN_CONSOLE_PORT: '0', MIZZEN_TAG: 'dev' })
      .withStartupTimeout(START_DEADLINE_MS)
      .up();
    const home = new ComposeHome(environment);
    await home.settle();
    return home;
  } catch (thrown) {
    const logs = compose('logs', '--tail', '15');
    removeStack();
    throw new Error(`${String(thrown)}\n${logs}`);
  }
}

/** Removes the stack and what was started beside it, also what a killed run left behind. */
function removeStack(): void {
  const beside = docker('ps', '--all', '--quiet', '--filter', `label=${BESIDE_LABEL}=${PROJECT}`)
    .split('\n')
    .filter((id) => id !== '');
  if (beside.length > 0) docker('rm', '--force', '--volumes', ...beside);
  compose('down', '--volumes', '--remove-orphans', '--timeout', '5');
}

function compose(...args: readonly string[]): string {
  return docker('compose', '--project-name', PROJECT, '--file', path.join(FOLDER, 'compose.yaml'), ...args);
}

/** The stack as the programs that join it see it. */
export interface ComposeStack {
  readonly project: string;
  readonly network: string;
  container(service: string): StartedTestContainer;
  /** `mizzen ARGS` in the stack; throws where it does not end with 0. */
  mizzen(...args: readonly string[]): Promise<string>;
  apply(yaml: string): Promise<void>;
  delete(yaml: string): Promise<void>;
}

class ComposeHome implements Home, ComposeStack {
  readonly name = 'compose';
  readonly project = PROJECT;
  readonly network = `${PROJECT}_mesh`;
  readonly gatewayUrl: string;
  readonly #environment: StartedDockerComposeEnvironment;
  #files = 0;

  constructor(environment: StartedDockerComposeEnvironment) {
    this.#environment = environment;
    this.gatewayUrl = `http://127.0.0.1:${this.container('ingress-gateway').getMappedPort(8080)}`;
  }

  container(service: string): StartedTestContainer {
    return this.#environment.getContainer(`${service}-1`);
  }

  mizzen(...args: readonly string[]): Promise<string> {
    return this.#run(['mizzen', ...args]);
  }

  apply(yaml: string): Promise<void> {
    return this.#change('apply', yaml);
  }

  delete(yaml: string): Promise<void> {
    return this.#change('delete --ignore-not-found', yaml);
  }

  async settle(): Promise<void> {
    await this.mizzen('wait', '--timeout', SETTLE_TIMEOUT);
  }

  /** In one command, since each `docker exec` takes its time. */
  async #change(command: string, yaml: string): Promise<void> {
    const target = `/tmp/${this.#files++}.yaml`;
    await this.container('cli').copyContentToContainer([{ content: yaml, target }]);
    await this.#run(['sh', '-c', `mizzen ${command} -f ${target} && mizzen wait --timeout ${SETTLE_TIMEOUT}`]);
  }

  async #run(command: string[]): Promise<string> {
    const { exitCode, output } = await this.container('cli').exec(command);
    if (exitCode !== 0) throw new Error(`${command.join(' ')} ended with ${exitCode}\n${output}`);
    return output;
  }

  async proxyConfig(section: string, workload: string): Promise<string> {
    const { stdout } = await this.container(`${workload}-sidecar`).exec(adminCommand('/config_dump?include_eds'));
    const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-dump-'));
    try {
      const file = path.join(folder, 'dump.json');
      writeFileSync(file, stdout);
      return (await runMizzen(['proxy-config', section, '-f', file, '-o', 'json'])).stdout;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  async sidecarLog(workload: string): Promise<string> {
    return docker('logs', this.container(`${workload}-sidecar`).getId());
  }

  startProgram(program: MeshProgram): Promise<RunningMeshProgram> {
    return startComposeProgram(this, program);
  }

  async startOutside({ peer }: OutsideProgram): Promise<RunningOutside> {
    const container = await startPeerContainer(this, peer, BOOK_PORT);
    const output = async (): Promise<string> => docker('logs', container.getId());
    await until(`${peer} listens`, async () => ((await output()).includes('"listening"') ? true : undefined));
    return {
      address: container.getIpAddress(this.network),
      port: BOOK_PORT,
      output,
      async [Symbol.asyncDispose]() {
        await container.stop({ timeout: 2_000 });
      },
    };
  }

  /** Its TCP is captured like everything else: the service's own name and port. */
  async tcpTarget({ service, port }: TcpTarget): Promise<TcpAddress> {
    return { host: service, port, async [Symbol.asyncDispose]() {} };
  }

  sidecarFilePath(name: string): string {
    return `${SIDECAR_FILES}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    removeStack();
  }
}
