/**
 * Finds the first occurrence of any stop string in a text that arrives in pieces, and how much of the text may be shown
 * already. One Knuth–Morris–Pratt automaton per string: O(characters × strings) whatever the pieces, and a hostile
 * `aaaa…` costs no more than any other.
 *
 * "First" means the smallest start in the whole text, however it was cut into pieces. So a match is settled only when
 * no other string can still turn out to begin before it: with stops `abcd` and `bc`, the text `abc` must wait for `d`.
 */
export class StopMatcher {
  private readonly stops: readonly string[];
  private readonly borders: readonly Int32Array[];
  /** Per string, characters matched at the end of the text so far. */
  private readonly matched: Int32Array;
  private length = 0;
  private firstMatch = Number.POSITIVE_INFINITY;
  private firstMatchEnd = Number.POSITIVE_INFINITY;

  /** Empty strings never match, nor does half a surrogate pair: text consists of whole characters. */
  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop !== '' && isWellFormed(stop));
    this.borders = this.stops.map(borderLengths);
    this.matched = new Int32Array(this.stops.length);
  }

  /** Continues the text. Offsets are UTF-16 units from the start of all the text. */
  push(piece: string): void {
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i);
      this.length++;
      for (let s = 0; s < this.stops.length; s++) this.advance(s, unit);
    }
  }

  /** Goes on after so many units in which nothing counts. */
  skip(length: number): void {
    this.length += length;
    this.matched.fill(0);
  }

  /** Text before this offset is certainly before every occurrence. */
  get safeLength(): number {
    return Math.min(this.firstMatch, this.earliestCandidate());
  }

  /** Offset of the first occurrence once that is certain; null before, or if there is none. */
  get settledMatch(): number | null {
    return this.firstMatch <= this.earliestCandidate() ? this.matchSoFar : null;
  }

  /** The first occurrence if no more text comes. */
  get matchSoFar(): number | null {
    return this.firstMatch === Number.POSITIVE_INFINITY ? null : this.firstMatch;
  }

  /** Where that occurrence ends; of two that begin at one place the shorter counts. */
  get matchEnd(): number | null {
    return this.firstMatch === Number.POSITIVE_INFINITY ? null : this.firstMatchEnd;
  }

  /** Where the earliest unfinished occurrence would begin; the end of the text if there is none. */
  private earliestCandidate(): number {
    let longest = 0;
    for (let s = 0; s < this.matched.length; s++) longest = Math.max(longest, this.matched[s] as number);
    return this.length - longest;
  }

  private advance(s: number, unit: number): void {
    const stop = this.stops[s] as string;
    const borders = this.borders[s] as Int32Array;
    let count = this.matched[s] as number;
    while (count > 0 && stop.charCodeAt(count) !== unit) count = borders[count - 1] as number;
    if (stop.charCodeAt(count) === unit) count++;
    if (count === stop.length) {
      const start = this.length - count;
      if (start < this.firstMatch || (start === this.firstMatch && this.length < this.firstMatchEnd)) {
        this.firstMatch = start;
        this.firstMatchEnd = this.length;
      }
      count = 0; // A later occurrence of the same string can't be the first one.
    }
    this.matched[s] = count;
  }
}

/** For each prefix of `text`, the length of its longest proper prefix that is also its suffix. */
function borderLengths(text: string): Int32Array {
  const borders = new Int32Array(text.length);
  let count = 0;
  for (let i = 1; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    while (count > 0 && text.charCodeAt(count) !== unit) count = borders[count - 1] as number;
    if (text.charCodeAt(count) === unit) count++;
    borders[i] = count;
  }
  return borders;
}

function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
