import { describe, expect, it } from '@jest/globals';
import { readCase } from '../testing/translation-case.ts';
import { diagnoseSnapshot } from './diagnose-snapshot.ts';

const COUNTED = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: rate-limit, namespace: istio-system }
spec:
  hosts: [mizzen-rate-limit.istio-system.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{ number: 8081, name: grpc, protocol: GRPC }]
  resolution: STATIC
`;

const EDGE = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: edge }
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http: [{ name: checkout, directResponse: { status: 200 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: inside }
spec:
  hosts: [a.example.com]
  http: [{ name: inside, directResponse: { status: 200 } }]
`;

function problems(yaml: string, rules: string): string[] {
  const limit = `apiVersion: mizzen.io/v1alpha1\nkind: RateLimit\nmetadata: { name: a }\nspec: { rules: [${rules}] }\n`;
  const { snapshot } = readCase(`nodes: {}\n---\n${yaml}---\n${limit}`, 'test.yaml');
  return diagnoseSnapshot(snapshot)
    .filter(({ resource }) => resource?.kind === 'RateLimit')
    .map(({ severity, code, path, message }) => `${severity} ${code} ${path?.join('.')}: ${message}`);
}

describe('what is said of RateLimits', () => {
  it('is nothing where all of it has its effect', () => {
    const rules = '{ name: a, scope: GLOBAL, match: { routes: [checkout], path: { regex: "/a+" } }, limit: { requests: 1 } }';
    expect(problems(`${COUNTED}---${EDGE}`, rules)).toEqual([]);
  });

  it('is an error where nobody counts for the mesh, with what becomes of the requests', () => {
    const rules =
      '{ name: a, scope: GLOBAL, limit: { requests: 1 } }, { name: b, scope: GLOBAL, denyOnFailure: true, limit: { requests: 1 } }';
    expect(problems('', rules)).toEqual([
      expect.stringMatching(/^error IST0101 spec\.rules\.0\.scope: there is no service mizzen-rate-limit\..* the rule limits nothing/),
      expect.stringMatching(/^error IST0101 spec\.rules\.1\.scope: .* what the rule matches is refused/),
    ]);
  });

  it('is a warning where no route of a gateway has the name, and an error where RE2 refuses a regular expression', () => {
    expect(problems(EDGE, '{ name: a, match: { routes: [checkout, inside, no] }, limit: { requests: 1 } }')).toEqual([
      expect.stringMatching(/^warning IST0101 spec\.rules\.0\.match\.routes\.1: .* named inside/),
      expect.stringMatching(/^warning IST0101 spec\.rules\.0\.match\.routes\.2: .* named no/),
    ]);
    expect(problems('', '{ name: a, match: { headers: { x-a: { regex: "(?<=a)b" } } }, limit: { requests: 1 } }')).toEqual([
      expect.stringMatching(/^error IST0106 spec\.rules\.0\.match\.headers\.x-a\.regex: .* the rule limits nothing/),
    ]);
  });
});
