import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { workspace } from './workspace.ts';

const script = path.join(workspace, 'deploy/kind/up');
const describeWithKubectl = spawnSync('kubectl', ['version', '--client']).status === 0 ? describe : describe.skip;

interface Workload {
  readonly kind: string;
  readonly spec?: { readonly template?: { readonly spec?: { readonly containers?: { imagePullPolicy: string }[] } } };
}

function kustomized(folder: string): Workload[] {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', path.join(workspace, folder)], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(stderr);
  return parseAllDocuments(stdout).map((document) => document.toJS() as Workload);
}

describeWithKubectl('the overlay for kind (needs kubectl)', () => {
  it('is deploy/kubernetes but for how images come to the nodes', () => {
    const overlay = kustomized('deploy/kind');
    const containers = overlay.flatMap(({ spec }) => spec?.template?.spec?.containers ?? []);
    expect(containers.length).toBeGreaterThan(4);
    expect(containers.every(({ imagePullPolicy }) => imagePullPolicy === 'Never')).toBe(true);
    for (const container of containers) container.imagePullPolicy = 'IfNotPresent';
    expect(overlay).toEqual(kustomized('deploy/kubernetes'));
  }, 120_000);
});

describe('deploy/kind/up', () => {
  let folder: string;
  let log: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'mizzen-kind-'));
    log = path.join(folder, 'log');
    writeFileSync(log, '');
    mkdirSync(path.join(folder, 'bin'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A program that notes how it was called and prints what it is told to. */
  function stub(name: string, body = ''): void {
    const file = path.join(folder, 'bin', name);
    writeFileSync(file, `#!/bin/bash\necho "${name} $*" >> "${log}"\n${body}\n`);
    chmodSync(file, 0o755);
  }

  function up(): { status: number | null; stderr: string; calls: string[] } {
    // Only what the stubs do not stand for: no kind, no Docker of the machine.
    for (const tool of ['bash', 'dirname', 'grep', 'env']) {
      const found = spawnSync('which', [tool], { encoding: 'utf8' }).stdout.trim();
      spawnSync('ln', ['-sf', found, path.join(folder, 'bin', tool)]);
    }
    const { status, stderr } = spawnSync(script, [], { encoding: 'utf8', env: { PATH: path.join(folder, 'bin') } });
    return { status, stderr, calls: readFileSync(log, 'utf8').trim().split('\n') };
  }

  it('says what is missing', () => {
    stub('docker');
    stub('npm');
    const { status, stderr } = up();
    expect(status).toBe(1);
    expect(stderr).toContain('not found: kind kubectl');
  });

  it('says that Docker does not answer', () => {
    for (const tool of ['kind', 'kubectl', 'npm']) stub(tool);
    stub('docker', 'exit 1');
    const { status, stderr } = up();
    expect(status).toBe(1);
    expect(stderr).toContain('`docker info`');
  });

  it('makes the cluster, loads every image, then installs the mesh and Bookinfo', () => {
    stub('docker');
    stub('kind');
    stub('npm', 'case "$*" in *--list) printf "mizzen/ca:1\\nmizzen/sidecar:1\\n";; esac');
    stub('kubectl', 'case "$*" in *"get deployments"*) echo deployment.apps/mizzen-ca;; esac');
    const { status, stderr, calls } = up();
    expect(stderr).toContain('http://localhost:8080/productpage');
    expect(status).toBe(0);
    const position = (part: string): number => calls.findIndex((call) => call.includes(part));
    const inOrder = [
      'kind create cluster',
      'run --silent images',
      'kind load docker-image --name mizzen mizzen/ca:1 mizzen/sidecar:1',
      'apply -k',
      'rollout status deployment.apps/mizzen-ca',
      'label namespace default',
      'bookinfo.yaml',
      'bookinfo-gateway.yaml',
    ];
    const positions = inOrder.map(position);
    expect(positions).not.toContain(-1);
    expect([...positions].sort((a, b) => a - b)).toEqual(positions);
  });

  it('leaves a cluster that is there', () => {
    stub('docker');
    stub('kind', 'case "$*" in "get clusters") echo mizzen;; esac');
    stub('npm');
    stub('kubectl');
    const { status, calls } = up();
    expect(status).toBe(0);
    expect(calls.some((call) => call.includes('create cluster'))).toBe(false);
  });
});
