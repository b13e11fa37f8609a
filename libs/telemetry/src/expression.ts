import { attributeOf, type ExpressionValue } from './expression-attributes.ts';
import type { StreamInfo } from './stream-info.ts';

/** undefined: an attribute is not there. */
export type Expression = (info: StreamInfo) => ExpressionValue;

type Token = { readonly kind: 'text' | 'number' | 'name' | 'sign' | 'end'; readonly text: string; readonly position: number };

const TOKEN =
  /\s*(?:(?<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<number>\d+(?:\.\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign>&&|\|\||==|!=|<=|>=|[-+?:!<>().,[\]]))/y;

/**
 * Compiles the part of CEL that labels of metrics are written in: attributes (`request.host`, `request.headers['x-tenant']`), literals,
 * `a ? b : c`, `&&`, `||`, `!`, comparisons, `+`, `string()`, `int()`, `size()`, `has()`, and the methods startsWith, endsWith, contains.
 * Throws an Error that says where the text is not that. Source: CEL language definition; envoy docs, "Attributes" (1.40).
 */
export function compileExpression(text: string): Expression {
  return new Parser(tokenize(text)).parse();
}

function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let position = 0;
  while (text.slice(position).trim() !== '') {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`the expression cannot be read at position ${position}`);
    const [kind, found] = Object.entries(match.groups ?? {}).find(([, value]) => value !== undefined) as [Token['kind'], string];
    position = TOKEN.lastIndex;
    tokens.push({ kind, text: found, position: position - found.length });
  }
  return [...tokens, { kind: 'end', text: '', position: text.length }];
}

class Parser {
  readonly #tokens: readonly Token[];
  #index = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  parse(): Expression {
    const expression = this.#conditional();
    if (this.#next.kind !== 'end') this.#fail(`${this.#next.text} is not expected`);
    return expression;
  }

  get #next(): Token {
    return this.#tokens[this.#index] as Token;
  }

  #fail(reason: string): never {
    throw new Error(`${reason} at position ${this.#next.position}`);
  }

  #take(sign: string): boolean {
    if (this.#next.kind !== 'sign' || this.#next.text !== sign) return false;
    this.#index++;
    return true;
  }

  #expect(sign: string): void {
    if (!this.#take(sign)) this.#fail(`needs ${sign}`);
  }

  #conditional(): Expression {
    const condition = this.#or();
    if (!this.#take('?')) return condition;
    const yes = this.#conditional();
    this.#expect(':');
    const no = this.#conditional();
    return (info) => (condition(info) === true ? yes(info) : no(info));
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#take('||')) {
      const [a, b] = [left, this.#and()];
      left = (info) => a(info) === true || b(info) === true;
    }
    return left;
  }

  #and(): Expression {
    let left = this.#comparison();
    while (this.#take('&&')) {
      const [a, b] = [left, this.#comparison()];
      left = (info) => a(info) === true && b(info) === true;
    }
    return left;
  }

  #comparison(): Expression {
    const left = this.#sum();
    const sign = ['==', '!=', '<=', '>=', '<', '>'].find((candidate) => this.#take(candidate));
    if (sign === undefined) return left;
    const compare = COMPARISONS[sign] as (a: never, b: never) => boolean;
    const right = this.#sum();
    return (info) => compare(left(info) as never, right(info) as never);
  }

  #sum(): Expression {
    let left = this.#unary();
    while (this.#take('+')) {
      const [a, b] = [left, this.#unary()];
      left = (info) => {
        const [x, y] = [a(info), b(info)];
        return typeof x === 'number' && typeof y === 'number' ? x + y : `${textOf(x)}${textOf(y)}`;
      };
    }
    return left;
  }

  #unary(): Expression {
    if (!this.#take('!')) return this.#primary();
    const value = this.#unary();
    return (info) => value(info) !== true;
  }

  #primary(): Expression {
    const token = this.#next;
    this.#index++;
    if (token.kind === 'text') {
      const value = token.text.slice(1, -1).replace(/\\(.)/g, '$1');
      return this.#methods(() => value);
    }
    if (token.kind === 'number') return () => Number(token.text);
    if (token.kind === 'sign' && token.text === '(') {
      const inner = this.#conditional();
      this.#expect(')');
      return this.#methods(inner);
    }
    if (token.kind !== 'name') {
      this.#index--;
      return this.#fail(token.kind === 'end' ? 'the expression ends too early' : `${token.text} is not expected`);
    }
    if (token.text === 'true' || token.text === 'false') return () => token.text === 'true';
    if (this.#take('(')) return this.#call(token);
    return this.#attribute(token.text);
  }

  #call({ text, position }: Token): Expression {
    const argument = this.#conditional();
    this.#expect(')');
    const run = FUNCTIONS[text];
    if (run === undefined) throw new Error(`${text}() is not a function that this proxy has at position ${position}`);
    return this.#methods((info) => run(argument(info)));
  }

  /** `request.headers['x']`, `.startsWith(…)` at its end. */
  #attribute(root: string): Expression {
    const path = [root];
    for (;;) {
      if (this.#take('[')) {
        const key = this.#next;
        if (key.kind !== 'text') this.#fail('needs a key in quotes');
        this.#index++;
        path.push(key.text.slice(1, -1));
        this.#expect(']');
      } else if (this.#next.text === '.' && !this.#isMethod()) {
        this.#index++;
        if (this.#next.kind !== 'name') this.#fail('needs a name');
        path.push(this.#next.text);
        this.#index++;
      } else break;
    }
    return this.#methods(attributeOf(path));
  }

  #isMethod(): boolean {
    return this.#tokens[this.#index + 1]?.kind === 'name' && this.#tokens[this.#index + 2]?.text === '(';
  }

  #methods(subject: Expression): Expression {
    if (this.#next.text !== '.' || !this.#isMethod()) return subject;
    this.#index++;
    const name = this.#next.text;
    const run = METHODS[name];
    if (run === undefined) return this.#fail(`${name}() is not a method that this proxy has`);
    this.#index += 2;
    const argument = this.#conditional();
    this.#expect(')');
    return this.#methods((info) => run(textOf(subject(info)), textOf(argument(info))));
  }
}

const COMPARISONS: Readonly<Record<string, (a: never, b: never) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

const FUNCTIONS: Readonly<Record<string, (value: ExpressionValue) => ExpressionValue>> = {
  string: (value) => (value === undefined ? undefined : textOf(value)),
  int: (value) => (value === undefined ? undefined : Math.trunc(Number(value))),
  size: (value) => (value === undefined ? undefined : textOf(value).length),
  has: (value) => value !== undefined,
};

const METHODS: Readonly<Record<string, (subject: string, argument: string) => boolean>> = {
  startsWith: (subject, argument) => subject.startsWith(argument),
  endsWith: (subject, argument) => subject.endsWith(argument),
  contains: (subject, argument) => subject.includes(argument),
};

function textOf(value: ExpressionValue): string {
  return value === undefined ? '' : String(value);
}
