/**
 * Byte-pair encoding of one word: of all neighbouring pairs the one of lowest rank merges first, the leftmost of equal
 * ones, until none is left (Sennrich et al. 2016; SentencePiece's scores become ranks, see sentencepiece.ts).
 *
 * Short words, nearly all of them, are scanned again after each merge. Long ones, such as a megabyte of one letter,
 * keep their pairs in a binary heap, so that the time is O(n log n). A heap entry is one number, rank · 2³¹ + position:
 * ordering by it is ordering by rank, then from the left. An entry is stale when the pair at its position no longer has
 * that rank; were it another pair of the same rank, that pair's own entry would be this very number.
 */
import type { PairTable } from './pair-table.js';

/** Up to this many symbols, scanning beats the heap's set-up. */
const SCAN_SYMBOLS_MAX = 32;

/** Positions in a word; also the factor that ranks are multiplied with. Ranks stay below 2²², so keys are exact. */
const POSITION_RANGE = 2 ** 31;
export const RANK_MAX = 2 ** 22 - 1;

/** Scratch arrays above this many symbols (20 MB of them) are given back after the word. */
const SCRATCH_SYMBOLS_MAX = 1 << 20;

const NO_RANK = -1;

export class Merger {
  readonly #pairs: PairTable;
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  #ranks = new Int32Array(0);
  #results = new Int32Array(0);
  #heap = new Float64Array(0);
  #heapSize = 0;

  constructor(pairs: PairTable) {
    this.#pairs = pairs;
  }

  /** Merges `symbols[0, count)` in place and returns how many are left. */
  merge(symbols: Int32Array, count: number): number {
    if (count < 2) return count;
    this.#reserve(count);
    const left = count <= SCAN_SYMBOLS_MAX ? this.#mergeShort(symbols, count) : this.#mergeLong(symbols, count);
    if (this.#next.length > SCRATCH_SYMBOLS_MAX) this.#allocate(0);
    return left;
  }

  #reserve(count: number): void {
    if (this.#next.length < count) this.#allocate(Math.max(count, 2 * SCAN_SYMBOLS_MAX));
  }

  #allocate(count: number): void {
    this.#next = new Int32Array(count);
    this.#previous = new Int32Array(count);
    this.#ranks = new Int32Array(count);
    this.#results = new Int32Array(count);
    // One entry a pair at first; each merge takes one out and adds at most two.
    this.#heap = new Float64Array(2 * count);
  }

  #mergeShort(symbols: Int32Array, countBefore: number): number {
    const ranks = this.#ranks;
    const results = this.#results;
    let count = countBefore;
    for (let i = 0; i + 1 < count; i++) this.#rate(symbols, i, i + 1);
    for (;;) {
      let best = -1;
      let bestRank = RANK_MAX + 1;
      for (let i = 0; i + 1 < count; i++) {
        const rank = ranks[i] ?? NO_RANK;
        if (rank !== NO_RANK && rank < bestRank) {
          best = i;
          bestRank = rank;
        }
      }
      if (best < 0) return count;
      symbols[best] = results[best] ?? 0;
      symbols.copyWithin(best + 1, best + 2, count);
      ranks.copyWithin(best + 1, best + 2, count);
      results.copyWithin(best + 1, best + 2, count);
      count--;
      if (best + 1 < count) this.#rate(symbols, best, best + 1);
      if (best > 0) this.#rate(symbols, best - 1, best);
    }
  }

  #mergeLong(symbols: Int32Array, count: number): number {
    const next = this.#next;
    const previous = this.#previous;
    const ranks = this.#ranks;
    this.#heapSize = 0;
    for (let i = 0; i < count; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      this.#enqueue(symbols, i, i + 1, count);
    }
    while (this.#heapSize > 0) {
      const key = this.#popSmallest();
      const rank = Math.floor(key / POSITION_RANGE);
      const at = key - rank * POSITION_RANGE;
      if (ranks[at] !== rank) continue;
      const right = next[at] ?? count;
      const after = next[right] ?? count;
      symbols[at] = this.#results[at] ?? 0;
      ranks[right] = NO_RANK;
      next[at] = after;
      if (after < count) previous[after] = at;
      this.#enqueue(symbols, at, after, count);
      const before = previous[at] ?? -1;
      if (before >= 0) this.#enqueue(symbols, before, at, count);
    }
    let left = 0;
    for (let i = 0; i < count; i = next[i] ?? count) symbols[left++] = symbols[i] ?? 0;
    return left;
  }

  /** Notes rank and result of the pair whose left symbol stands at `at`. */
  #rate(symbols: Int32Array, at: number, right: number): number {
    const entry = this.#pairs.find(symbols[at] ?? -1, symbols[right] ?? -1);
    const rank = entry < 0 ? NO_RANK : this.#pairs.rank(entry);
    this.#ranks[at] = rank;
    if (entry >= 0) this.#results[at] = this.#pairs.result(entry);
    return rank;
  }

  #enqueue(symbols: Int32Array, at: number, right: number, count: number): void {
    if (right >= count) {
      this.#ranks[at] = NO_RANK;
      return;
    }
    const rank = this.#rate(symbols, at, right);
    if (rank !== NO_RANK) this.#push(rank * POSITION_RANGE + at);
  }

  #push(key: number): void {
    const heap = this.#heap;
    let hole = this.#heapSize++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const parentKey = heap[parent] ?? 0;
      if (parentKey <= key) break;
      heap[hole] = parentKey;
      hole = parent;
    }
    heap[hole] = key;
  }

  #popSmallest(): number {
    const heap = this.#heap;
    const smallest = heap[0] ?? 0;
    const size = --this.#heapSize;
    const key = heap[size] ?? 0;
    let hole = 0;
    for (let child = 1; child < size; child = 2 * hole + 1) {
      if (child + 1 < size && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++;
      const childKey = heap[child] ?? 0;
      if (childKey >= key) break;
      heap[hole] = childKey;
      hole = child;
    }
    heap[hole] = key;
    return smallest;
  }
}
