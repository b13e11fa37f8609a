import { RE2JS } from 're2js';

const known = new Map<string, string>();
const MAX_KNOWN = 10_000;

/** Why a text is not a regular expression of RE2 (what Envoy runs), or '' where it is one. */
export function regexProblem(regex: string): string {
  let problem = known.get(regex);
  if (problem === undefined) {
    problem = compileProblem(regex);
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(regex, problem);
  }
  return problem;
}

function compileProblem(regex: string): string {
  try {
    RE2JS.compile(regex);
    return '';
  } catch (thrown) {
    return typeof thrown === 'object' && thrown !== null && 'message' in thrown ? String(thrown.message) : String(thrown);
  }
}
