import { run } from './cluster.ts';

/**
 * An image that the cluster can start, made of a Dockerfile: whatever a test needs that is no part of the mesh. The cluster of these tests has
 * no registry, so the image is copied into it by MIZZEN_LOAD_IMAGES (a command that takes image names).
 */
export async function buildAndLoad(image: string, dockerfile: string): Promise<void> {
  await must('docker', ['build', '--network', 'host', '-t', image, '-'], dockerfile);
  await loadImages([image]);
}

export async function loadImages(images: readonly string[]): Promise<void> {
  const loader = process.env['MIZZEN_LOAD_IMAGES'];
  if (loader === undefined)
    throw new Error('set MIZZEN_LOAD_IMAGES to a command that copies Docker images into the cluster (`kind load docker-image`)');
  const [command = '', ...args] = loader.split(' ');
  await must(command, [...args, ...images]);
}

async function must(command: string, args: readonly string[], input?: string): Promise<void> {
  const result = await run(command, args, input);
  if (result.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`);
}
