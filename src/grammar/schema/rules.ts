import { GRAMMAR_RULES_BYTES_MAX } from '../../limits.js';
import { ConstraintError } from '../types.js';

/** A grammar in the making: named rules, equal bodies once. Expressions are EBNF text that binds tightly. */
export class Rules {
  readonly #names = new Map<string, string>();
  readonly #lines: string[] = [];
  #bytes = 0;

  /** Names an expression; the same one keeps its first name. */
  rule(body: string): string {
    const known = this.#names.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.define(name, body);
    this.#names.set(body, name);
    return name;
  }

  /** The rule known by `key`, its body made at the first call; the body may refer to the rule itself. */
  named(key: string, body: (self: string) => string): string {
    // No EBNF text begins with a space.
    const known = this.#names.get(` ${key}`);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.#names.set(` ${key}`, name);
    this.define(name, body(name));
    return name;
  }

  /** A name to refer to before its body is known. */
  reserve(): string {
    this.#lines.push('');
    return `r${this.#lines.length}`;
  }

  define(name: string, body: string): void {
    this.#bytes += body.length + name.length + 8;
    if (this.#bytes > GRAMMAR_RULES_BYTES_MAX) {
      throw new ConstraintError(
        `It becomes a grammar of more than ${GRAMMAR_RULES_BYTES_MAX} bytes. Simplify it.`,
        true,
      );
    }
    this.#lines[Number(name.slice(1)) - 1] = `${name} ::= ${body}`;
  }

  text(root: string): string {
    return `root ::= ${root}\n${this.#lines.join('\n')}\n`;
  }
}

const hex = (code: number): string =>
  code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;

/** Exactly this text. */
export function literal(text: string): string {
  let body = '';
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    body += code >= 0x20 && code < 0x7f && char !== '"' && char !== '\\' ? char : hex(code);
  }
  return `"${body}"`;
}

/** One of these, at least one given; null stands for the empty text. */
export function oneOf(options: readonly (string | null)[]): string {
  const unique = [...new Set(options)].map((option) => option ?? '""');
  return unique.length === 1 ? (unique[0] as string) : `(${unique.join(' | ')})`;
}

export function sequence(items: readonly string[]): string {
  const parts = items.filter((item) => item !== '""');
  if (parts.length === 0) return '""';
  return parts.length === 1 ? (parts[0] as string) : `(${parts.join(' ')})`;
}

/** `max` null: without end. */
export function repeat(item: string, min: number, max: number | null): string {
  if (item === '""' || max === 0) return '""';
  if (min === 1 && max === 1) return item;
  if (min === 0 && max === 1) return oneOf([item, null]);
  if (max === null && min <= 1) return `${item}${min === 0 ? '*' : '+'}`;
  return `${item}{${min},${max ?? ''}}`;
}

/** Code points in [first, last], both included. */
export type CharRange = readonly [first: number, last: number];
export type CharSet = readonly CharRange[];

const LAST = 0x10ffff;

/** Sorted and disjoint; without surrogates, which no UTF-8 text holds. */
export function charSet(ranges: readonly CharRange[]): CharSet {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [first, last] of sorted) {
    const top = merged.at(-1);
    if (top !== undefined && first <= top[1] + 1) top[1] = Math.max(top[1], last);
    else merged.push([first, last]);
  }
  return merged.flatMap(([first, last]): CharRange[] => {
    const parts: CharRange[] = [
      [first, Math.min(last, 0xd7ff)],
      [Math.max(first, 0xe000), last],
    ];
    return parts.filter(([from, to]) => from <= to);
  });
}

export function complement(set: CharSet): CharSet {
  const gaps: CharRange[] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) gaps.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST) gaps.push([next, LAST]);
  return charSet(gaps);
}

export const without = (set: CharSet, removed: CharSet): CharSet =>
  complement(charSet([...complement(set), ...removed]));

export const isEmptySet = (set: CharSet): boolean => set.length === 0;

export const contains = (set: CharSet, code: number): boolean =>
  set.some(([first, last]) => first <= code && code <= last);

const ASCII: CharSet = [[0, 0x7f]];
const BEYOND = complement(ASCII);
/** More characters than these aren't listed one by one. */
const LISTED_MAX = 512;

const member = (code: number): string => {
  const char = String.fromCodePoint(code);
  return /^[0-9A-Za-z]$/.test(char) ? char : hex(code);
};
const members = (set: CharSet): string =>
  set.map(([first, last]) => (first === last ? member(first) : `${member(first)}-${member(last)}`)).join('');

const sizeOf = (set: CharSet): number => set.reduce((sum, [first, last]) => sum + last - first + 1, 0);

/** The set without its characters beyond ASCII, unless it has them all: every text of it is one of the set's. */
export function simplified(set: CharSet): CharSet {
  return isEmptySet(without(BEYOND, set)) ? set : without(set, BEYOND);
}

/**
 * One character of the set, which must not be empty. The engine reads classes rightly only if they list ASCII, or
 * exclude nothing but ASCII; single characters beyond are written out. Throws ConstraintError for other sets.
 */
export function charClass(set: CharSet): string {
  const ascii = without(set, BEYOND);
  const beyond = without(set, ASCII);
  if (isEmptySet(without(BEYOND, set))) {
    const excluded = without(ASCII, set);
    // A class of all characters can't be written; NUL has no use in a text.
    return `[^${isEmptySet(excluded) ? hex(0) : members(excluded)}]`;
  }
  if (sizeOf(beyond) > LISTED_MAX) {
    throw new ConstraintError(
      `A class of characters may list at most ${LISTED_MAX} beyond ASCII, or allow all of them; use '.' or a negated class.`,
    );
  }
  const options = isEmptySet(ascii) ? [] : [`[${members(ascii)}]`];
  for (const [first, last] of beyond) {
    for (let code = first; code <= last; code++) options.push(literal(String.fromCodePoint(code)));
  }
  return oneOf(options);
}
