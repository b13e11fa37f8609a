import { describe, expect, it } from '@jest/globals';
import { checkValues } from './check-values.ts';
import { helpOf, VALUE_HELP } from './value-help.ts';
import { FREE_VALUES, isMap, PROFILES, profileChanges, valuesOf, type Yaml } from './values.ts';

describe('the check of values', () => {
  it.each(PROFILES)('has nothing against profile %s', (profile) => {
    expect(checkValues(profileChanges(profile))).toEqual([]);
  });

  it.each<readonly [changes: Yaml, finding: string]>([
    [{ controlPlan: {} }, 'controlPlan is not a value of an installation; did you mean controlPlane?'],
    [{ controlPlane: { replica: 3 } }, 'controlPlane.replica is not a value of an installation; did you mean replicas?'],
    [{ controlPlane: { replicas: 'three' } }, 'controlPlane.replicas must be a number, not a string'],
    [{ tolerations: {} }, 'tolerations must be a list, not a map'],
    [{ ca: true }, 'ca must be a map, not a boolean'],
    [{ revision: 'Canary!' }, 'revision "Canary!" becomes part of names'],
    [{ meshConfig: { accessLogFile: 7 } }, 'accessLogFile'],
    [{ injection: { nativeSidecar: true } }, 'did you mean "nativeSidecars"'],
  ])('says what is wrong with %j', (changes, finding) => {
    expect(checkValues(changes)).toEqual([expect.stringContaining(finding)]);
  });

  it('takes anything where the keys are those of Kubernetes or of MeshConfig', () => {
    expect(checkValues({ nodeSelector: { pool: 'a' }, ingressGateway: { service: { annotations: { 'a/b': 'c' } } } })).toEqual([]);
  });
});

describe('the help of values', () => {
  it('says something of every value, and of nothing else', () => {
    const paths = pathsOf(valuesOf('default') as unknown as Yaml);
    expect(paths.filter((path) => helpOf(path) === undefined)).toEqual([]);
    const parts = new Set(paths.flat());
    expect(Object.keys(VALUE_HELP).filter((name) => !parts.has(name))).toEqual([]);
  });
});

function pathsOf(values: Yaml, above: readonly string[] = []): readonly (readonly string[])[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const path = [...above, key];
    return isMap(value) && !FREE_VALUES.has(key) ? [path, ...pathsOf(value, path)] : [path];
  });
}
