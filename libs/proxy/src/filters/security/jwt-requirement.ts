import type { JsonObject } from '@bufbuild/protobuf';
import type { Field } from '@mizzen/matching';
import type { JwtRequirement } from '@mizzen/xds-api/envoy/extensions/filters/http/jwt_authn/v3/config';
import type { HttpStreamInfo } from '../../http/stream-info.ts';
import { type Jwt, parseJwt } from './jwt.ts';
import { compileTokenFinder, type FoundToken } from './jwt-locations.ts';
import { audienceSet, type CompiledProvider } from './jwt-provider.ts';
import { type JwtFailure, type JwtStatus, jwtFailureCode, jwtFailureText } from './jwt-status.ts';

/** One request while its tokens are checked. */
export interface JwtRun {
  readonly info: HttpStreamInfo;
  /** Seconds since the epoch. */
  readonly nowSeconds: number;
  /** The request ended meanwhile: nothing of it may be touched. */
  isOver(): boolean;
  /** For dynamic metadata, gathered. */
  metadata: JsonObject | undefined;
  needsNewRoute: boolean;
}

/** Checks a request; calls back once, at once where no keys must be fetched. */
export type JwtCheck = (run: JwtRun, done: (status: JwtStatus) => void) => void;

export type Providers = ReadonlyMap<string, CompiledProvider>;

const MAX_DEPTH = 32;

/** Compiles a JwtRequirement; undefined where nothing is required. Source: envoy jwt_authn Verifier (1.40). */
export function compileRequirement(
  requirement: JwtRequirement | undefined,
  field: Field,
  options: { readonly providers: Providers; readonly depth?: number },
): JwtCheck | undefined {
  const { providers, depth = 0 } = options;
  if (depth > MAX_DEPTH) {
    field.reject(`is nested deeper than ${MAX_DEPTH} levels`);
    return undefined;
  }
  const type = requirement?.requiresType;
  const children = (list: readonly JwtRequirement[], name: string): (JwtCheck | undefined)[] =>
    list.map((each, index) => compileRequirement(each, field.child(name).child('requirements', index), { providers, depth: depth + 1 }));
  switch (type?.case) {
    case 'providerName':
      return ofProvider(type.value, providers, field.child('provider_name'));
    case 'providerAndAudiences': {
      const { providerName, audiences } = type.value;
      return ofProvider(providerName, providers, field.child('provider_and_audiences').child('provider_name'), audiences);
    }
    case 'requiresAll':
      return all(children(type.value.requirements, 'requires_all'));
    case 'requiresAny':
      return compileAny(type.value.requirements, { children, providers });
    case 'allowMissing':
      return ofAnyProvider(providers, 'missing');
    case 'allowMissingOrFailed':
      return ofAnyProvider(providers, 'missing-or-failed');
    default:
      return undefined;
  }
}

function ofProvider(name: string, providers: Providers, field: Field, audiences: readonly string[] = []): JwtCheck | undefined {
  const provider = providers.get(name);
  if (provider === undefined) {
    field.reject(`there is no provider "${name}"`);
    return undefined;
  }
  const wanted = audiences.length === 0 ? undefined : audienceSet(audiences);
  const find = (): CompiledProvider => provider;
  return (run, done) => new TokensCheck(run, { find, allows: 'nothing', audiences: wanted }, done).start(provider.findTokens(run.info));
}

// Tokens of all providers; of which one a token is, its issuer tells.
function ofAnyProvider(providers: Providers, allows: 'missing' | 'missing-or-failed'): JwtCheck {
  const list = [...providers.values()];
  const findTokens = compileTokenFinder(list.map(({ message }) => message));
  const find = (token: string): CompiledProvider | JwtFailure => {
    const jwt = parseJwt(token);
    if (typeof jwt === 'string') return jwt;
    const ofIssuer = list.find(({ message }) => message.issuer === jwt.issuer) ?? list.find(({ message }) => message.issuer === '');
    return ofIssuer ?? 'unknown-issuer';
  };
  return (run, done) => new TokensCheck(run, { find, allows, audiences: undefined }, done).start(findTokens(run.info));
}

function all(checks: readonly (JwtCheck | undefined)[]): JwtCheck {
  const next = (index: number, run: JwtRun, done: (status: JwtStatus) => void): void => {
    if (index >= checks.length) {
      done('ok');
      return;
    }
    const check = checks[index];
    if (check === undefined) next(index + 1, run, done);
    else check(run, (status) => (status === 'ok' ? next(index + 1, run, done) : done(status)));
  };
  return (run, done) => next(0, run, done);
}

function compileAny(
  requirements: readonly JwtRequirement[],
  options: { children(list: readonly JwtRequirement[], name: string): (JwtCheck | undefined)[]; readonly providers: Providers },
): JwtCheck | undefined {
  const has = (name: 'allowMissing' | 'allowMissingOrFailed'): boolean =>
    requirements.some(({ requiresType }) => requiresType.case === name);
  const checks = options.children(requirements, 'requires_any').filter((_check, index) => {
    const { case: kind } = (requirements[index] as JwtRequirement).requiresType;
    return kind !== 'allowMissing' && kind !== 'allowMissingOrFailed';
  });
  const allows = has('allowMissingOrFailed') ? 'missing-or-failed' : has('allowMissing') ? 'missing' : 'nothing';
  if (checks.length === 0) return allows === 'nothing' ? undefined : ofAnyProvider(options.providers, allows);
  // A requirement of nothing is always met.
  if (checks.includes(undefined)) return undefined;
  const next = (at: { readonly index: number; readonly worst: JwtFailure }, run: JwtRun, done: (status: JwtStatus) => void): void => {
    const check = checks[at.index];
    if (check === undefined) {
      done(allows === 'missing-or-failed' || (allows === 'missing' && at.worst === 'missing') ? 'ok' : at.worst);
      return;
    }
    check(run, (status) => {
      if (status === 'ok') done('ok');
      else next({ index: at.index + 1, worst: worseOf(at.worst, status) }, run, done);
    });
  };
  return (run, done) => next({ index: 0, worst: 'missing' }, run, done);
}

// That another provider's token is none of this one's says less than that a token is bad.
function worseOf(worst: JwtFailure, failure: JwtFailure): JwtFailure {
  return worst === 'missing' || (failure !== 'missing' && failure !== 'unknown-issuer') ? failure : worst;
}

interface TokensOptions {
  /** The provider that a token is checked by, or why there is none. */
  find(token: string): CompiledProvider | JwtFailure;
  readonly allows: 'nothing' | 'missing' | 'missing-or-failed';
  readonly audiences: ReadonlySet<string> | undefined;
}

/**
 * All tokens that a request has for a requirement, one after the other: each must be good, or the upstream might take the bad one for the one
 * that was verified. @deviation: also where tokens may be missing; there Envoy lets the last one decide.
 */
class TokensCheck {
  readonly #run: JwtRun;
  readonly #options: TokensOptions;
  readonly #done: (status: JwtStatus) => void;
  #left: FoundToken[] = [];

  constructor(run: JwtRun, options: TokensOptions, done: (status: JwtStatus) => void) {
    this.#run = run;
    this.#options = options;
    this.#done = done;
  }

  start(tokens: FoundToken[]): void {
    this.#left = tokens;
    if (tokens.length === 0) this.#done(this.#options.allows === 'nothing' ? 'missing' : 'ok');
    else this.#next();
  }

  #next(): void {
    const found = this.#left.pop();
    if (found === undefined) this.#done('ok');
    else this.#check(found);
  }

  #check(found: FoundToken): void {
    const provider = this.#options.find(found.token);
    if (typeof provider === 'string') {
      this.#settle(provider, undefined);
      return;
    }
    const decoded = provider.decode(found.token);
    if (typeof decoded === 'string') {
      this.#settle(decoded, provider);
      return;
    }
    const { jwt } = decoded;
    const { issuers } = found.location;
    if (issuers !== undefined && !issuers.has(jwt.issuer)) {
      this.#settle('unknown-issuer', provider);
      return;
    }
    const claims = provider.checkClaims(jwt, this.#run.nowSeconds, this.#options.audiences);
    if (claims !== 'ok') {
      this.#settle(claims, provider);
      return;
    }
    if (decoded.isVerified) {
      this.#accept(found, jwt, provider);
      return;
    }
    const keys = provider.keys.current();
    const verify = (known: typeof keys & {}): void => {
      const status = provider.verify(found.token, jwt, known);
      if (status === 'ok') this.#accept(found, jwt, provider);
      else this.#settle(status, provider);
    };
    if (keys !== undefined) verify(keys);
    else
      provider.keys.fetch((fetched) => {
        if (!this.#run.isOver()) verify(fetched);
      });
  }

  #accept({ location }: FoundToken, jwt: Jwt, provider: CompiledProvider): void {
    const { message } = provider;
    const { info } = this.#run;
    if (provider.forward(jwt, info.head.headers) && message.clearRouteCache) this.#run.needsNewRoute = true;
    if (!message.forward) location.remove(info);
    if (message.headerInMetadata !== '') this.#tell({ [message.headerInMetadata]: jwt.header });
    if (message.payloadInMetadata !== '') this.#tell({ [message.payloadInMetadata]: provider.payloadForMetadata(jwt) });
    this.#next();
  }

  #settle(failure: JwtFailure, provider: CompiledProvider | undefined): void {
    const key = provider?.message.failedStatusInMetadata ?? '';
    if (key !== '') this.#tell({ [key]: { code: jwtFailureCode(failure), message: jwtFailureText(failure) } });
    if (this.#options.allows === 'missing-or-failed') this.#next();
    else this.#done(failure);
  }

  #tell(metadata: JsonObject): void {
    this.#run.metadata = { ...this.#run.metadata, ...metadata };
  }
}
