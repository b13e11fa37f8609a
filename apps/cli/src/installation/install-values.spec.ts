import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { parseAssignment, readInstallValues } from './install-values.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-values-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

describe('the values of an installation', () => {
  it('are those of the profile, under the files in their order, under what is set', async () => {
    const first = fileOf('first.yaml', 'tag: one\ncontrolPlane: { replicas: 3 }\n');
    const second = fileOf('second.yaml', 'tag: two\nca: { replicas: 4 }\n');
    const values = await readInstallValues({ profile: 'demo', values: [first, second], set: ['ca.replicas=5'] });
    expect(values).toMatchObject({ tag: 'two', controlPlane: { replicas: 3 }, ca: { replicas: 5 }, injector: { replicas: 1 } });
  });

  it.each([
    ['meshConfig.accessLogFile=/dev/stdout', { meshConfig: { accessLogFile: '/dev/stdout' } }],
    [
      'ingressGateway.service.annotations.example\\.com/lb=internal',
      { ingressGateway: { service: { annotations: { 'example.com/lb': 'internal' } } } },
    ],
    ['tolerations=[{ operator: Exists }]', { tolerations: [{ operator: 'Exists' }] }],
    ['hub=', { hub: '' }],
    ['tag=a=b', { tag: 'a=b' }],
    ['tag=1.30', { tag: '1.30' }],
    ['controlPlane.replicas=3', { controlPlane: { replicas: 3 } }],
  ])('takes --set %s', (text, changes) => {
    expect(parseAssignment(text)).toEqual(changes);
  });

  it.each([
    [{ profile: 'default', values: [], set: ['replicas'] }, 'write path=value'],
    [{ profile: 'default', values: [], set: ['tolerations=[a'] }, 'is not YAML'],
    [{ profile: 'default', values: [], set: ['hubb=a'] }, 'did you mean hub?'],
    [{ profile: 'revision', values: [], set: [] }, '--set revision=canary'],
    [{ profile: 'big', values: [], set: [] }, 'there is no profile "big"; choose one of default'],
    [{ profile: 'default', values: ['/nowhere/values.yaml'], set: [] }, '/nowhere/values.yaml: '],
    [{ profile: 'default', values: [fileOf('list.yaml', '- a\n')], set: [] }, 'values are a map'],
  ])('says what is wrong with %j', async (options, message) => {
    await expect(readInstallValues(options)).rejects.toMatchObject({
      code: 'MIZZEN_RESOURCE',
      message: expect.stringContaining(message),
      details: { isBadInput: true },
    });
  });
});
