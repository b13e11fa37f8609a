import { describe, expect, it } from '@jest/globals';
import { errorOfAnswer, isNamespaceTerminating } from './kube-error.ts';

const forbidden = (message: string) => errorOfAnswer('POST /x', 403, { kind: 'Status', reason: 'Forbidden', message });

describe('the error of an answer 403', () => {
  it('asks for a Role where the caller may not', () => {
    const thrown = forbidden('pods is forbidden: User "a" cannot list resource "pods" in API group "" at the cluster scope');
    expect(thrown.message).toMatch(/ \(grant it by a Role or ClusterRole\)$/);
    expect(isNamespaceTerminating(thrown)).toBe(false);
  });

  it('says to wait where the namespace is on its way out', () => {
    const thrown = forbidden('configmaps "a" is forbidden: unable to create new content in namespace x because it is being terminated');
    expect(thrown.message).toMatch(/ \(wait until the namespace is gone, or use another one\)$/);
    expect(isNamespaceTerminating(thrown)).toBe(true);
  });

  it('adds nothing to what admission says', () => {
    const message = 'pods "a" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=5, limited: pods=5';
    expect(forbidden(message).message).toBe(`POST /x: ${message}`);
  });
});
