import { create } from '@bufbuild/protobuf';
import { compileFullMatch, type Field, type StringPredicate } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { TypedExtensionConfig } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import { UriTemplateMatchConfigSchema } from '@mizzen/xds-api/envoy/extensions/path/match/uri_template/v3/uri_template_match';
import { RegexMatcherSchema } from '@mizzen/xds-api/envoy/type/matcher/v3/regex';

// RFC 3986 pchar; `*` and `=` mean something in a template, but are letters like others in a path.
const LETTERS = "a-zA-Z0-9\\-._~%!$&'()+,;:@";
const LITERAL = new RegExp(`^[${LETTERS}]+$`);
const GLOBS: Readonly<Record<string, string>> = { '*': `[${LETTERS}*=]+`, '**': `[${LETTERS}*=/]*` };
const VARIABLE = /^\{([a-zA-Z][a-zA-Z0-9_]{0,15})(?:=([^{}]+))?\}/;
const MAX_VARIABLES = 5;

/**
 * A predicate over paths without query for a URI template: `/users/{id}/books/**`, `/{user}/x`, `/{file=a/**}.txt`. `*` is one segment,
 * `**` any number of them, and must be the last glob. Istio writes `{*}` and `{**}` of an AuthorizationPolicy so.
 * Source: envoy.extensions.path.match.uri_template.v3, UriTemplateMatchConfig (1.40).
 */
export function compileUriTemplate(extension: TypedExtensionConfig, field: Field): StringPredicate {
  const message = unpackAny(extension.typedConfig, UriTemplateMatchConfigSchema);
  if (message === undefined) {
    field.reject(`"${extension.name}" is not supported by this proxy; only uri_template_matcher is`);
    return () => false;
  }
  const at = field.child('typed_config').child('path_template');
  const template = new TemplateParser(message.pathTemplate);
  const pattern = template.pattern();
  if (pattern === undefined) {
    at.reject(`"${message.pathTemplate}" is not a URI template: ${template.problem}`);
    return () => false;
  }
  return compileFullMatch(create(RegexMatcherSchema, { regex: pattern }), at);
}

class TemplateParser {
  problem = '';
  #rest: string;
  #hasTextGlob = false;
  readonly #variables = new Set<string>();

  constructor(template: string) {
    this.#rest = template;
  }

  /** A regular expression; undefined with a problem. */
  pattern(): string | undefined {
    if (!this.#rest.startsWith('/')) return this.#fail('it must begin with /');
    let pattern = '';
    while (this.#rest !== '') {
      this.#rest = this.#rest.slice(1);
      pattern += '/';
      if (this.#rest === '') return pattern;
      const segment = this.#segment();
      if (segment === undefined) return undefined;
      pattern += segment;
      if (this.#rest === '' || this.#rest.startsWith('/')) continue;
      // What follows a glob or variable without a slash ends the path.
      if (!LITERAL.test(this.#rest)) return this.#fail(`"${this.#rest}" may not follow a glob`);
      return pattern + escaped(this.#rest);
    }
    return pattern;
  }

  #segment(): string | undefined {
    const glob = /^\*\*?/.exec(this.#rest)?.[0];
    if (glob !== undefined) {
      this.#rest = this.#rest.slice(glob.length);
      return this.#glob(glob);
    }
    if (this.#rest.startsWith('{')) return this.#variable();
    const [literal] = this.#rest.split('/', 1) as [string];
    this.#rest = this.#rest.slice(literal.length);
    return LITERAL.test(literal) ? escaped(literal) : this.#fail(`"${literal}" has letters that a path does not`);
  }

  #glob(glob: string): string | undefined {
    if (this.#hasTextGlob) return this.#fail('nothing but text may follow **');
    this.#hasTextGlob = glob === '**';
    return GLOBS[glob];
  }

  #variable(): string | undefined {
    const match = VARIABLE.exec(this.#rest);
    if (match === null) return this.#fail(`"${this.#rest}" does not begin with a variable, as in {name} or {name=*}`);
    const [whole, name, parts = '*'] = match as unknown as [string, string, string | undefined];
    this.#rest = this.#rest.slice(whole.length);
    if (this.#variables.has(name)) return this.#fail(`the variable ${name} stands in it twice`);
    this.#variables.add(name);
    if (this.#variables.size > MAX_VARIABLES) return this.#fail(`it has more than ${MAX_VARIABLES} variables`);
    const segments: string[] = [];
    for (const part of parts.split('/')) {
      const segment =
        part === '*' || part === '**'
          ? this.#glob(part)
          : LITERAL.test(part)
            ? escaped(part)
            : this.#fail(`"${part}" is no part of a path`);
      if (segment === undefined) return undefined;
      segments.push(segment);
    }
    return segments.join('/');
  }

  #fail(problem: string): undefined {
    this.problem = problem;
    return undefined;
  }
}

function escaped(literal: string): string {
  return literal.replaceAll(/[$()+.]/g, '\\$&');
}
