import { createHash } from 'node:crypto';
import type { UsedPackage } from './packages.ts';

/** A package of the distribution in the base image, as dpkg names it. */
export interface SystemPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

export interface SbomOptions {
  /** `mizzen/ca`. */
  readonly image: string;
  readonly version: string;
  readonly description: string;
  /** Hash of everything that the image is made of. */
  readonly inputs: string;
  readonly packages: readonly UsedPackage[];
  readonly systemPackages: readonly SystemPackage[];
}

/** The bill of materials of one image: the npm packages that were bundled and the packages of its base. CycloneDX 1.6, JSON. */
export function createSbom({ image, version, description, inputs, packages, systemPackages }: SbomOptions): unknown {
  const self = `pkg:docker/${image}@${version}`;
  const components = [...packages.map(npmComponent), ...systemPackages.map(debianComponent)];
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(`${image} ${inputs}`)}`,
    version: 1,
    metadata: {
      component: {
        type: 'container',
        'bom-ref': self,
        name: image,
        version,
        description,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        properties: [{ name: 'mizzen:inputs', value: inputs }],
      },
    },
    components,
    dependencies: [{ ref: self, dependsOn: components.map((component) => component['bom-ref']) }],
  };
}

function npmComponent({ name, version, license, integrity, folder }: UsedPackage) {
  const isOwn = !folder.includes('node_modules/');
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  const [scope, base] = name.startsWith('@') ? (name.split('/') as [string, string]) : [undefined, name];
  return {
    type: 'library',
    // Two copies of one version at different depths are two components.
    'bom-ref': `${purl}#${folder}`,
    ...(scope !== undefined && { group: scope }),
    name: base,
    version,
    ...(isOwn ? {} : { purl }),
    licenses: [
      /[ ()]/.test(license) ? { expression: license } : { license: license === 'NOASSERTION' ? { name: license } : { id: license } },
    ],
    ...(integrity.startsWith('sha512-') && {
      hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex') }],
    }),
  };
}

function debianComponent({ name, version, architecture }: SystemPackage) {
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`;
  return { type: 'library', 'bom-ref': purl, name, version, purl };
}

/** A UUID that follows from a text (RFC 9562 version 8), so that the same image has the same serial number. */
function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
