import type { Drafter } from './drafter.js';

/** Tokens of the text's end that are looked up, the longer first. */
const gramTokens = [3, 2] as const;
/** Lengths of a match from which on guesses are counted apart: the longer it is, the likelier it goes on. */
const classStarts = [2, 3, 4, 6, 10, 18] as const;
/** Where counting starts: chances of a text that repeats itself now and then, and how many tokens this is worth. */
const startChances = [0.15, 0.3, 0.5, 0.65, 0.8, 0.9] as const;
const startWeight = 4;
/** Tokens that are looked at in one go: a prompt of the longest context takes several, some milliseconds each. */
const indexedTokensMax = 4096;
/** Of what was counted before, at each token of a class. */
const memory = 0.95;

/**
 * Guesses that what follows the last few tokens is what followed them the last time (prompt lookup decoding: Saxena
 * 2023). A guess is followed, and counted as right or wrong, whether or not it was computed ahead: so chances are known
 * before anything is spent on them, and a text that stops repeating itself, or begins to, is noticed for free.
 */
export class NgramDrafter implements Drafter {
  private tokens: Int32Array = new Int32Array(0);
  private known = 0;
  /** Groups of tokens that end up to here can be found. */
  private indexed = 0;
  /** Where the guess at the next token stands; −1: there is none. It stands there behind `matched` equal tokens. */
  private at = -1;
  private matched = 0;
  private readonly indices = gramTokens.map((length) => new GramIndex(length));
  private readonly hits: Float64Array = Float64Array.from(startChances, (chance) => chance * startWeight);
  private readonly trials: Float64Array = new Float64Array(startChances.length).fill(startWeight);

  update(tokens: Int32Array, known: number): void {
    this.tokens = tokens;
    for (let at = this.known; at < known; at++) this.judge(tokens[at] as number);
    this.known = known;
    // Not the last tokens themselves: nothing has followed them.
    const end = Math.min(known - 1, this.indexed + indexedTokensMax);
    while (this.indexed < end) {
      this.indexed++;
      for (const index of this.indices) index.add(tokens, this.indexed);
    }
    if (this.at < 0) this.search();
  }

  token(i: number): number {
    // Behind the end the guess repeats itself.
    const period = this.known - this.at;
    return this.tokens[this.at + (i % period)] as number;
  }

  likelihood(i: number): number {
    if (this.at < 0) return 0;
    let chance = 1;
    for (let length = this.matched; length <= this.matched + i; length++) chance *= this.chanceAt(classOf(length));
    return chance;
  }

  private chanceAt(index: number): number {
    return (this.hits[index] as number) / (this.trials[index] as number);
  }

  /** The next token is known: `at` moves on with it, or is lost. */
  private judge(token: number): void {
    if (this.at < 0) return;
    const index = classOf(this.matched);
    const isRight = this.tokens[this.at] === token;
    this.hits[index] = memory * (this.hits[index] as number) + (isRight ? 1 : 0);
    this.trials[index] = memory * (this.trials[index] as number) + 1;
    if (isRight) {
      this.at++;
      this.matched++;
    } else {
      this.at = -1;
    }
  }

  private search(): void {
    for (const index of this.indices) {
      this.at = index.find(this.tokens, this.known);
      if (this.at < 0) continue;
      this.matched = this.commonTokens();
      return;
    }
  }

  /** How many tokens before `at` equal the last ones, as far as it matters. */
  private commonTokens(): number {
    const longest = Math.min(this.at, classStarts[classStarts.length - 1] as number);
    let length = 0;
    while (length < longest && this.tokens[this.at - 1 - length] === this.tokens[this.known - 1 - length]) length++;
    return length;
  }
}

function classOf(length: number): number {
  let index = classStarts.length - 1;
  while (index > 0 && length < (classStarts[index] as number)) index--;
  return index;
}

/** Where each group of `length` successive tokens ended the last time: a hash table of ends, compared by the tokens. */
class GramIndex {
  private readonly length: number;
  private ends = new Int32Array(256);
  private count = 0;

  constructor(length: number) {
    this.length = length;
  }

  /** The group that ends at `end` (exclusive) was seen. */
  add(tokens: Int32Array, end: number): void {
    if (end < this.length) return;
    if (2 * this.count >= this.ends.length) this.grow(tokens);
    const at = this.place(tokens, end);
    if (this.ends[at] === 0) this.count++;
    this.ends[at] = end;
  }

  /** Where the group that ends at `end` ended before; −1 if nowhere. */
  find(tokens: Int32Array, end: number): number {
    if (end < this.length) return -1;
    const found = this.ends[this.place(tokens, end)] as number;
    return found === 0 ? -1 : found;
  }

  /** The entry of the group that ends at `end`: its own, or the empty one where it belongs. */
  private place(tokens: Int32Array, end: number): number {
    const mask = this.ends.length - 1;
    let hash = 0x811c9dc5;
    for (let i = end - this.length; i < end; i++) hash = Math.imul(hash ^ (tokens[i] as number), 0x01000193);
    let at = (Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 8) & mask;
    while (this.ends[at] !== 0 && !this.isSame(tokens, this.ends[at] as number, end)) at = (at + 1) & mask;
    return at;
  }

  private isSame(tokens: Int32Array, a: number, b: number): boolean {
    for (let i = 1; i <= this.length; i++) if (tokens[a - i] !== tokens[b - i]) return false;
    return true;
  }

  private grow(tokens: Int32Array): void {
    const old = this.ends;
    this.ends = new Int32Array(2 * old.length);
    for (const end of old) if (end !== 0) this.ends[this.place(tokens, end)] = end;
  }
}
