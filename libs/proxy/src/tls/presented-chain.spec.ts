import { beforeAll, describe, expect, it } from '@jest/globals';
import { createHostCertificate, type HostCertificate } from '@mizzen/testing';
import { presentedChain } from './presented-chain.ts';

describe('the chain that is presented', () => {
  let own: HostCertificate;
  let other: HostCertificate;

  beforeAll(async () => {
    own = await createHostCertificate('a.example');
    other = await createHostCertificate('b.example');
  });

  it('ends with the root that issued the certificate, found among others', () => {
    const chain = presentedChain(own.certChainPem, `${other.caPem}\n${own.caPem}`);
    expect(chain.match(/BEGIN/g)).toHaveLength(2);
    expect(chain).toBe(`${own.certChainPem.trim()}\n${own.caPem.trim()}\n`);
  });

  it('takes no root by its name alone', () => {
    // Both are called the same.
    expect(presentedChain(own.certChainPem, other.caPem)).toBe(`${own.certChainPem.trim()}\n`);
  });

  it.each([
    ['with an issuer already', () => [`${own.certChainPem}\n${other.caPem}`, own.caPem] as const],
    ['without roots', () => [own.certChainPem, undefined] as const],
    ['that nobody can read', () => ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', own.caPem] as const],
  ])('is left as it is %s', (_, given) => {
    const [chain, roots] = given();
    expect(presentedChain(chain, roots)).toBe(chain);
  });

  it('ends where a certificate issued itself, and goes past roots that nobody can read', () => {
    expect(presentedChain(own.caPem, own.caPem)).toBe(`${own.caPem.trim()}\n`);
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    expect(presentedChain(own.certChainPem, broken + own.caPem).match(/BEGIN/g)).toHaveLength(2);
  });
});
