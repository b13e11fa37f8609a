import type { Diagnostic } from '@mizzen/core';
import type { MeshSnapshot } from '@mizzen/model';
import { report } from './report.ts';

const MESSAGE =
  'the address that a client wanted is only known where the network leads traffic to its proxy (pods, compose); elsewhere, and at gateways, the match is left out';

/** Matches that ask for the destination's subnet, which not every proxy can. */
export function subnetMatches({ virtualServices }: MeshSnapshot): Diagnostic[] {
  return virtualServices.flatMap(({ resource, tcp, tls }) =>
    Object.entries({ tcp, tls }).flatMap(([field, rules]) =>
      rules.flatMap(({ match }, rule) =>
        (match ?? []).flatMap(({ destinationSubnets }, index) => {
          if (!destinationSubnets?.length) return [];
          const path = ['spec', field, rule, 'match', index, 'destinationSubnets'];
          return [report(resource, { code: 'no-effect', severity: 'info', path, message: MESSAGE })];
        }),
      ),
    ),
  );
}
