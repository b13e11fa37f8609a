/** What the names of a revision's objects end with, as Istio's do: nothing for `default`, else `-<revision>`. */
export function revisionSuffix(revision: string): string {
  return revision === 'default' ? '' : `-${revision}`;
}
