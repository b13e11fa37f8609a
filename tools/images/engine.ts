import { spawn } from 'node:child_process';
import type { SystemPackage } from './sbom.ts';

/** What of the container engine the images need: the docker command, with its classic builder. */
export interface Engine {
  /** Content hash of an image, or undefined where it is not there. */
  imageId(reference: string): Promise<string | undefined>;
  build(options: BuildOptions): Promise<void>;
  tag(source: string, target: string): Promise<void>;
  /** The packages of the distribution inside an image; none where it is not made of Debian. */
  systemPackages(reference: string): Promise<readonly SystemPackage[]>;
}

export interface BuildOptions {
  readonly context: string;
  readonly target: string;
  readonly tags: readonly string[];
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** Throws where no engine answers. */
export async function connectEngine(): Promise<Engine> {
  const version = await run(['version', '--format', '{{.Server.Version}}']);
  if (version.code !== 0) {
    throw new Error(`no container engine answers: start Docker and run the command again (${version.output.trim().split('\n').at(-1)})`);
  }
  return {
    async imageId(reference) {
      const { code, output } = await run(['image', 'inspect', '--format', '{{.Id}}', reference]);
      return code === 0 ? output.trim() : undefined;
    },
    async build({ context, target, tags, buildArgs, labels }) {
      const pairs = (flag: string, values: Readonly<Record<string, string>>) =>
        Object.entries(values).flatMap(([key, value]) => [flag, `${key}=${value}`]);
      const args = ['build', '--target', target, ...tags.flatMap((tag) => ['--tag', tag])];
      const { code, output } = await run([...args, ...pairs('--build-arg', buildArgs), ...pairs('--label', labels), context]);
      if (code !== 0) throw new Error(`docker build of ${tags[0]} failed:\n${output}`);
    },
    async tag(source, target) {
      const { code, output } = await run(['tag', source, target]);
      if (code !== 0) throw new Error(`docker tag ${source} ${target} failed: ${output}`);
    },
    async systemPackages(reference) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own format
      const format = '${Package}\\t${Version}\\t${Architecture}\\n';
      const { code, output } = await run(['run', '--rm', '--network', 'none', '--entrypoint', 'dpkg-query', reference, '-W', '-f', format]);
      if (code !== 0) return [];
      return output
        .split('\n')
        .map((line) => line.split('\t'))
        .filter((fields) => fields.length === 3)
        .map(([name = '', version = '', architecture = '']) => ({ name, version, architecture }));
    },
  };
}

function run(args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    // BuildKit is an extra of the engine that not every machine has.
    const child = spawn('docker', args, { env: { ...process.env, DOCKER_BUILDKIT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.on('error', (error) => resolve({ code: 127, output: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}
