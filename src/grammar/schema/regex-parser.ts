import { GRAMMAR_REPEAT_MAX, GRAMMAR_STATES_MAX } from '../../limits.js';
import { ConstraintError } from '../types.js';
import { type CharRange, type CharSet, charSet, complement } from './rules.js';

export type RegexNode =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'sequence'; readonly items: readonly RegexNode[] }
  | { readonly kind: 'choice'; readonly options: readonly RegexNode[] }
  | { readonly kind: 'repeat'; readonly item: RegexNode; readonly min: number; readonly max: number | null };

/** One alternative of the whole pattern, and at which ends it is anchored. */
export type RegexAlternative = { readonly node: RegexNode; readonly fromStart: boolean; readonly toEnd: boolean };

const DIGITS: CharSet = [[0x30, 0x39]];
const WORD = charSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
/** Of white space and line ends only ASCII's: the engine can't exclude characters beyond. */
const SPACE = charSet([
  [0x09, 0x0d],
  [0x20, 0x20],
]);
const NOT_LINE_END = complement(
  charSet([
    [0x0a, 0x0a],
    [0x0d, 0x0d],
  ]),
);
const CLASSES: Readonly<Record<string, CharSet>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };
const UNSUPPORTED: readonly (readonly [start: string, what: string])[] = [
  ['(?=', 'look-ahead'],
  ['(?!', 'look-ahead'],
  ['(?<=', 'look-behind'],
  ['(?<!', 'look-behind'],
  ['\\b', 'a word boundary'],
  ['\\B', 'a word boundary'],
  ['\\p', 'a Unicode property'],
  ['\\P', 'a Unicode property'],
  ['\\k', 'a back-reference'],
];
const NESTING_MAX = 64;

const empty: RegexNode = { kind: 'sequence', items: [] };

/** Characters that a node stands for once every repetition is written out: what compiling it costs. */
function weight(node: RegexNode): number {
  switch (node.kind) {
    case 'set':
      return 1;
    case 'sequence':
      return node.items.reduce((sum, item) => sum + weight(item), 0);
    case 'choice':
      return node.options.reduce((sum, option) => sum + weight(option), 0);
    case 'repeat':
      return weight(node.item) * Math.max(1, node.max ?? node.min + 1);
    default:
      return node satisfies never;
  }
}

/** Parses ECMAScript's syntax (flag `u`'s reading of characters). Throws ConstraintError with the position. */
export function parseRegex(pattern: string): readonly RegexAlternative[] {
  return new Parser(pattern).parse();
}

class Parser {
  readonly #chars: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#chars = [...pattern];
  }

  parse(): readonly RegexAlternative[] {
    const alternatives: RegexAlternative[] = [];
    do {
      const fromStart = this.#take('^');
      const items = this.#items();
      const toEnd = this.#take('$');
      alternatives.push({ node: { kind: 'sequence', items }, fromStart, toEnd });
    } while (this.#take('|'));
    if (this.#at < this.#chars.length) this.#fail(`unexpected '${this.#chars[this.#at]}'`);
    const states = alternatives.reduce((sum, { node }) => sum + weight(node), 0);
    if (states > GRAMMAR_STATES_MAX) {
      throw new ConstraintError(
        `The regular expression stands for ${states} characters once its repetitions are written out; ` +
          `at most ${GRAMMAR_STATES_MAX} are allowed.`,
        true,
      );
    }
    return alternatives;
  }

  #fail(what: string): never {
    throw new ConstraintError(`The regular expression can't be used: ${what} at character ${this.#at}.`);
  }

  #take(char: string): boolean {
    if (this.#chars[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #follows(text: string): boolean {
    return this.#chars.slice(this.#at, this.#at + text.length).join('') === text;
  }

  #items(): RegexNode[] {
    const items: RegexNode[] = [];
    for (let char = this.#chars[this.#at]; char !== undefined; char = this.#chars[this.#at]) {
      if (char === '|' || char === ')' || char === '$') break;
      items.push(this.#quantified(this.#atom(char)));
    }
    return items;
  }

  #atom(char: string): RegexNode {
    for (const [start, what] of UNSUPPORTED) if (this.#follows(start)) this.#fail(`${what} isn't supported`);
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', set: this.#class() };
      case '.':
        this.#at++;
        return { kind: 'set', set: NOT_LINE_END };
      case '\\':
        return { kind: 'set', set: this.#escape() };
      case '^':
        return this.#fail("'^' is supported only at the start of the whole expression or of one of its alternatives,");
      case '*':
      case '+':
      case '?':
      case '{':
        return this.#fail(`nothing to repeat before '${char}'`);
      default:
        this.#at++;
        return { kind: 'set', set: single(char) };
    }
  }

  #group(): RegexNode {
    if (++this.#depth > NESTING_MAX) this.#fail('too deep nesting');
    this.#at++;
    if (this.#take('?') && !this.#take(':')) {
      const end = this.#chars.indexOf('>', this.#at);
      if (!this.#take('<') || end < 0) this.#fail('an unknown kind of group');
      this.#at = end + 1;
    }
    const options: RegexNode[] = [];
    do options.push({ kind: 'sequence', items: this.#items() });
    while (this.#take('|'));
    if (this.#chars[this.#at] === '$') this.#fail("'$' is supported only at the end of the whole expression,");
    if (!this.#take(')')) this.#fail("a group without ')'");
    this.#depth--;
    return options.length === 1 ? (options[0] ?? empty) : { kind: 'choice', options };
  }

  #quantified(item: RegexNode): RegexNode {
    const bounds = this.#bounds();
    if (bounds === null) return item;
    // A lazy quantifier matches the same texts.
    this.#take('?');
    const { min, max } = bounds;
    if (max !== null && max < min) this.#fail('a repetition whose maximum is below its minimum');
    if (Math.max(min, max ?? 0) > GRAMMAR_REPEAT_MAX) this.#fail(`a repetition of more than ${GRAMMAR_REPEAT_MAX}`);
    return { kind: 'repeat', item, min, max };
  }

  #bounds(): { readonly min: number; readonly max: number | null } | null {
    if (this.#take('*')) return { min: 0, max: null };
    if (this.#take('+')) return { min: 1, max: null };
    if (this.#take('?')) return { min: 0, max: 1 };
    if (this.#chars[this.#at] !== '{') return null;
    const match = /^\{(\d{1,9})(,(\d{1,9})?)?\}/.exec(this.#chars.slice(this.#at, this.#at + 24).join(''));
    if (match === null) return this.#fail("a '{' that begins no repetition; write '\\{'");
    this.#at += match[0].length;
    const min = Number(match[1]);
    if (match[2] === undefined) return { min, max: min };
    return { min, max: match[3] === undefined ? null : Number(match[3]) };
  }

  #class(): CharSet {
    this.#at++;
    const isNegated = this.#take('^');
    const ranges: CharRange[] = [];
    while (!this.#take(']')) {
      const first = this.#classMember();
      const isRange = this.#chars[this.#at] === '-' && this.#chars[this.#at + 1] !== ']';
      if (!isRange) {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      const last = this.#classMember();
      const [from, to] = [first[0]?.[0] ?? 0, last[0]?.[0] ?? 0];
      if (!isSingle(first) || !isSingle(last) || from > to) this.#fail('a range of characters that is out of order');
      ranges.push([from, to]);
    }
    const set = isNegated ? complement(charSet(ranges)) : charSet(ranges);
    if (set.length === 0) this.#fail('a class that no character is in');
    return set;
  }

  #classMember(): CharSet {
    const char = this.#chars[this.#at];
    if (char === undefined) return this.#fail("a class without ']'");
    if (char === '\\') return this.#follows('\\b') ? this.#skip(2, [[8, 8]]) : this.#escape();
    return this.#skip(1, single(char));
  }

  #skip(count: number, set: CharSet): CharSet {
    this.#at += count;
    return set;
  }

  #escape(): CharSet {
    const char = this.#chars[this.#at + 1];
    if (char === undefined) return this.#fail("a '\\' at the end");
    const known = CLASSES[char];
    if (known !== undefined) return this.#skip(2, known);
    const control = CONTROLS[char];
    if (control !== undefined) return this.#skip(2, [[control, control]]);
    const rest = this.#chars.slice(this.#at, this.#at + 12).join('');
    const pair = /^\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/.exec(rest);
    if (pair !== null) return this.#skip(12, single(String.fromCharCode(hexOf(pair[1]), hexOf(pair[2]))));
    const code = /^\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})/.exec(rest);
    if (code !== null) {
      const value = hexOf(code[1] ?? code[2] ?? code[3]);
      if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) this.#fail('a code that is no character');
      return this.#skip(code[0].length, [[value, value]]);
    }
    if (/^[0-9A-Za-z]$/.test(char)) return this.#fail(`the unknown escape '\\${char}'`);
    return this.#skip(2, single(char));
  }
}

const hexOf = (digits: string | undefined): number => Number.parseInt(digits ?? '', 16);
const isSingle = (set: CharSet): boolean => set.length === 1 && set[0]?.[0] === set[0]?.[1];

function single(char: string): CharSet {
  const code = char.codePointAt(0) ?? 0;
  return charSet([[code, code]]);
}
