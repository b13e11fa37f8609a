import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';

const MIZZEN = resolve(import.meta.dirname, '../bin/mizzen.cjs');
/** For ten processes, one after another, on a machine that does other things. */
const TEN_PROCESSES_MS = 180_000;

const REVIEWS = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
    - route:
        - destination: { host: reviews, subset: v1 }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
    - name: v1
      labels: { version: v1 }
`;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe('the command, as a process', () => {
  let home: string;

  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'mizzen-cli-'));
  });

  afterAll(() => rmSync(home, { recursive: true, force: true }));

  function mizzen(args: readonly string[], input = ''): Promise<Outcome> {
    const env = { PATH: process.env['PATH'], MIZZEN_HOME: home, NO_COLOR: '1' };
    const child = spawn(process.execPath, [MIZZEN, ...args], { cwd: home, env, stdio: ['pipe', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => {
      output.stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output.stderr += chunk;
    });
    // A program may end without having read anything; its exit code tells what came of it.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    return new Promise((done) => child.on('close', (code) => done({ code, ...output })));
  }

  it(
    'applies, shows and deletes resources as kubectl does',
    async () => {
      const file = join(home, 'reviews.yaml');
      writeFileSync(file, REVIEWS);
      const names = ['virtualservice.networking.istio.io/reviews', 'destinationrule.networking.istio.io/reviews'];
      expect(await mizzen(['apply', '-f', file])).toMatchObject({ code: 0, stdout: `${names[0]} created\n${names[1]} created\n` });
      expect((await mizzen(['apply', '-f', file])).stdout).toBe(`${names[0]} unchanged\n${names[1]} unchanged\n`);
      const changed = await mizzen(['apply', '-f', '-'], REVIEWS.replace('[reviews]', '[reviews, other]'));
      expect(changed.stdout).toBe(`${names[0]} configured\n${names[1]} unchanged\n`);

      expect((await mizzen(['get', 'vs'])).stdout).toMatch(
        /^NAME +GATEWAYS +HOSTS +ACCEPTED +APPLIED +AGE\nreviews +\["reviews","other"\] +- +-/,
      );
      const shown = parse((await mizzen(['get', 'vs', 'reviews', '-o', 'yaml'])).stdout) as { spec: { hosts: string[] } };
      expect(shown.spec.hosts).toEqual(['reviews', 'other']);

      expect(await mizzen(['delete', 'vs/reviews', 'dr/reviews'])).toMatchObject({
        code: 0,
        stdout: `${names[0]} deleted\n${names[1]} deleted\n`,
      });
      expect(await mizzen(['delete', 'vs', 'reviews'])).toMatchObject({ code: 1, stdout: '' });
      expect(await mizzen(['delete', 'vs', 'reviews', '--ignore-not-found'])).toMatchObject({ code: 0 });
    },
    TEN_PROCESSES_MS,
  );

  it('writes nothing where one resource is invalid, and says where', async () => {
    const file = join(home, 'bad.yaml');
    writeFileSync(file, `${REVIEWS}---\n${REVIEWS.replace('hosts:', 'hostz:')}`);
    const { code, stderr, stdout } = await mizzen(['apply', '-n', 'other', '-f', file]);
    expect({ code, stdout }).toEqual({ code: 65, stdout: '' });
    expect(stderr).toContain(`${file}:26 VirtualService other/reviews spec.hostz`);
    expect(existsSync(join(home, 'config', 'other'))).toBe(false);
  });

  it('says so where a file holds nothing for the mesh', async () => {
    const deployment = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: details }\n';
    const outcome = await mizzen(['apply', '-f', '-'], deployment);
    expect(outcome).toMatchObject({ code: 65, stdout: '' });
    expect(outcome.stderr).toContain('Deployment of apps/v1 is not part of the mesh');
    expect(outcome.stderr).toContain('mizzen: nothing to apply: there is no resource of the mesh in -\n');
    expect(await mizzen(['apply', '-f', '-'], `${deployment}---\n${REVIEWS}`)).toMatchObject({ code: 0 });
  });

  it('tells with `get` what is wrong in documents that are no resource', async () => {
    const file = join(home, 'config', 'broken.yaml');
    writeFileSync(file, 'kind: [VirtualService\n');
    const { code, stdout, stderr } = await mizzen(['get', 'vs']);
    rmSync(file);
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(new RegExp(`^error ${file}:[12]: `)) });
    expect(stdout).toMatch(/^NAME/);
  });

  it('answers `delete` in the form that was asked for', async () => {
    await mizzen(['apply', '-n', 'gone', '-f', '-'], REVIEWS);
    const { stdout } = await mizzen(['delete', 'vs', 'reviews', '-n', 'gone', '-o', 'json']);
    expect(JSON.parse(stdout)).toEqual([{ kind: 'VirtualService', namespace: 'gone', name: 'reviews', result: 'deleted' }]);
  });

  it('puts resources without a namespace into that of the command line, and refuses a contradiction', async () => {
    expect((await mizzen(['apply', '-n', 'shop', '-f', '-'], REVIEWS)).code).toBe(0);
    expect((await mizzen(['get', 'all', '-n', 'shop', '-o', 'json'])).stdout).toContain('"namespace": "shop"');
    const contradiction = REVIEWS.replace('name: reviews', 'name: reviews\n  namespace: home');
    expect(await mizzen(['apply', '-n', 'shop', '-f', '-'], contradiction)).toMatchObject({ code: 65 });
  });

  it.each([
    ['an unknown command', ['nope'], 64],
    ['an unknown kind', ['get', 'pods'], 64],
    ['a missing argument', ['get'], 64],
    ['no file to apply', ['apply'], 64],
    ['a home that can be none', ['--home', MIZZEN, 'up'], 1],
    ['the version', ['--version'], 0],
    ['a port that is none', ['up', '--gateway-port', '70000'], 64],
    ['a file that does not exist', ['apply', '-f', '/nowhere.yaml'], 65],
    ['a mesh that does not run', ['proxy-status'], 1],
    ['a mesh that does not run', ['status'], 1],
    ['a mesh that does not run', ['run', '--service', 'x', '--port', '1', '--', 'true'], 1],
    ['help', ['proxy-config', 'routes', '--help'], 0],
    ['stopping what does not run', ['down'], 0],
  ])('ends with the right exit code for %s', async (_, args, code) => {
    const outcome = await mizzen(args);
    expect(outcome.code).toBe(code);
    if (code !== 0) expect({ stdout: outcome.stdout, isTold: outcome.stderr !== '' }).toEqual({ stdout: '', isTold: true });
  });

  it('makes a join token for an identity', async () => {
    const { stdout } = await mizzen(['token', 'create', '-n', 'shop', '--service-account', 'cart', '-o', 'json']);
    const { token, spiffeId } = JSON.parse(stdout) as { token: string; spiffeId: string };
    expect(spiffeId).toBe('spiffe://cluster.local/ns/shop/sa/cart');
    expect(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({
      sub: spiffeId,
      iss: 'mizzen-join',
      aud: 'mizzen-ca',
    });
    expect(readFileSync(join(home, 'ca', 'join-token-key.pem'), 'utf8')).toContain('PRIVATE KEY');
  });

  it('documents flags, variables and examples', async () => {
    const { stdout } = await mizzen(['up', '--help']);
    expect(stdout).toContain('MIZZEN_GATEWAY_PORT');
    expect(stdout).toContain('Examples:');
  });

  it('knows every command in the completion script', async () => {
    const { stdout } = await mizzen(['completion', 'bash']);
    expect(stdout).toMatch(/"proxy-config"\) words="clusters listeners routes endpoints secret bootstrap all/);
  });
});
