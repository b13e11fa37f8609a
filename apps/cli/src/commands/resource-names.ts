import { MizzenError, type ResourceRef } from '@mizzen/core';
import { findKind, KIND_NAMES, KINDS, type Kind } from '@mizzen/mesh-api';

/** `virtualservice.networking.istio.io/reviews`, as kubectl writes it. */
export function kubectlName(ref: ResourceRef): string {
  const { singular, group } = KINDS[ref.kind as Kind];
  return `${singular}.${group}/${ref.name}`;
}

/** The kind that a person means by `vs`, `virtualservices` or `VirtualService`. Throws a wrong command line for anything else. */
export function requireKind(name: string): Kind {
  const kind = findKind(name);
  if (kind) return kind;
  const known = KIND_NAMES.map((candidate) => [candidate, ...KINDS[candidate].shortNames].join('/')).join(', ');
  throw new MizzenError('MIZZEN_SETTINGS', `there is no kind ${name}; there are ${known}`);
}

/** Kinds and names of a command line: `vs reviews ratings`, `vs,dr`, `vs/reviews dr/reviews`. Without names, all of the kinds. */
export function parseTargets(words: readonly string[]): { kinds: readonly Kind[]; refs: readonly { kind: Kind; name: string }[] } {
  const [first = '', ...names] = words;
  if (words.some((word) => word.includes('/'))) {
    const refs = words.map((word) => {
      const [kind = '', name = '', extra] = word.split('/');
      if (name === '' || extra !== undefined) throw new MizzenError('MIZZEN_SETTINGS', `${word} is not of the form KIND/NAME`);
      return { kind: requireKind(kind), name };
    });
    return { kinds: [], refs };
  }
  const kinds = first === 'all' ? KIND_NAMES : first.split(',').map(requireKind);
  if (names.length > 0 && kinds.length !== 1)
    throw new MizzenError('MIZZEN_SETTINGS', 'names need one kind: KIND NAME…, or KIND/NAME KIND/NAME…');
  return { kinds, refs: names.map((name) => ({ kind: kinds[0] as Kind, name })) };
}
