import { readFile } from 'node:fs/promises';
import { errorMessage, MizzenError } from '@mizzen/core';
import { checkValues, type InstallValues, isMap, isProfile, merge, PROFILES, valuesOf, type Yaml } from '@mizzen/manifests';
import { parse } from 'yaml';

export interface ValuesOptions {
  readonly profile: string;
  /** Files of values, later ones over earlier ones. */
  readonly values: readonly string[];
  /** `controlPlane.replicas=3`, over everything else. */
  readonly set: readonly string[];
}

/** The values of an installation as the command line gives them. Throws MIZZEN_RESOURCE with everything that is wrong. */
export async function readInstallValues({ profile, values, set }: ValuesOptions): Promise<InstallValues> {
  if (!isProfile(profile)) throw badValues([`there is no profile "${profile}"; choose one of ${PROFILES.join(', ')}`]);
  const files = await Promise.all(values.map(readValuesFile));
  const changes = [...files, ...set.map(parseAssignment)].reduce<Yaml>(merge, {});
  const findings = checkValues(changes);
  if (findings.length > 0) throw badValues(findings);
  const result = valuesOf(profile, changes);
  // It would take the CA and the gateways of the installation beside it away.
  if (profile === 'revision' && result.revision === valuesOf('default').revision)
    throw badValues(['profile revision is for an installation beside another: name it, as in --set revision=canary']);
  return result;
}

async function readValuesFile(file: string): Promise<Yaml> {
  try {
    const content: unknown = parse(await readFile(file, 'utf8')) ?? {};
    if (isMap(content)) return content;
  } catch (thrown) {
    throw badValues([`${file}: ${errorMessage(thrown)}`]);
  }
  throw badValues([`${file}: values are a map, as in \`controlPlane: { replicas: 3 }\``]);
}

/**
 * `a.b=value`; the value is YAML, so that numbers, booleans, lists and maps can be given, except where a text is wanted (`tag=1.30`). A dot
 * within a key is written `\.`.
 */
export function parseAssignment(text: string): Yaml {
  const equals = text.indexOf('=');
  if (equals <= 0) throw badValues([`--set ${text}: write path=value, as in controlPlane.replicas=3`]);
  const path = text.slice(0, equals).split(/(?<!\\)\./);
  const keys = path.map((key) => key.replaceAll('\\.', '.'));
  const value = wantsText(keys) ? text.slice(equals + 1) : parseValue(text, equals);
  return keys.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Yaml;
}

function wantsText(keys: readonly string[]): boolean {
  const wanted = keys.reduce<unknown>((values, key) => (isMap(values) ? values[key] : undefined), valuesOf('default'));
  return typeof wanted === 'string';
}

function parseValue(text: string, equals: number): unknown {
  try {
    return parse(text.slice(equals + 1)) ?? '';
  } catch (thrown) {
    throw badValues([`--set ${text}: the value is not YAML: ${errorMessage(thrown)}`]);
  }
}

function badValues(findings: readonly string[]): MizzenError {
  return new MizzenError('MIZZEN_RESOURCE', findings.join('\n'), { details: { isBadInput: true } });
}
