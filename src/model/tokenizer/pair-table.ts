/**
 * Which pairs of symbols merge: (left, right) → (rank, result). An open-addressing hash table in typed arrays: a
 * Llama 3 vocabulary has 280,000 pairs, and every byte of a prompt looks one up.
 */
export class PairTable {
  #lefts: Int32Array;
  #rights: Int32Array;
  #ranks: Int32Array;
  #results: Int32Array;
  #mask: number;
  #size = 0;

  /** Has room for `pairs`; grows beyond. */
  constructor(pairs = 0) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(1024, 2 * pairs + 1)));
    this.#lefts = new Int32Array(capacity).fill(-1);
    this.#rights = new Int32Array(capacity);
    this.#ranks = new Int32Array(capacity);
    this.#results = new Int32Array(capacity);
    this.#mask = capacity - 1;
  }

  /** Symbols are ≥ 0; the first entry of a pair stays. */
  add(left: number, right: number, rank: number, result: number): void {
    if (2 * this.#size >= this.#lefts.length) this.#grow();
    const entry = this.#probe(left, right);
    if (this.#lefts[entry] !== -1) return;
    this.#lefts[entry] = left;
    this.#rights[entry] = right;
    this.#ranks[entry] = rank;
    this.#results[entry] = result;
    this.#size++;
  }

  /** Index of the pair's entry, or -1. Symbols < 0 (characters outside the vocabulary) are in no pair. */
  find(left: number, right: number): number {
    if (left < 0 || right < 0) return -1;
    const entry = this.#probe(left, right);
    return this.#lefts[entry] === -1 ? -1 : entry;
  }

  rank(entry: number): number {
    return this.#ranks[entry] ?? 0;
  }

  result(entry: number): number {
    return this.#results[entry] ?? 0;
  }

  #probe(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    let entry = (hash ^ (hash >>> 13)) & this.#mask;
    while (this.#lefts[entry] !== -1 && (this.#lefts[entry] !== left || this.#rights[entry] !== right)) {
      entry = (entry + 1) & this.#mask;
    }
    return entry;
  }

  #grow(): void {
    const lefts = this.#lefts;
    const rights = this.#rights;
    const ranks = this.#ranks;
    const results = this.#results;
    const capacity = 2 * lefts.length;
    this.#lefts = new Int32Array(capacity).fill(-1);
    this.#rights = new Int32Array(capacity);
    this.#ranks = new Int32Array(capacity);
    this.#results = new Int32Array(capacity);
    this.#mask = capacity - 1;
    for (let i = 0; i < lefts.length; i++) {
      const left = lefts[i] ?? -1;
      if (left === -1) continue;
      const entry = this.#probe(left, rights[i] ?? 0);
      this.#lefts[entry] = left;
      this.#rights[entry] = rights[i] ?? 0;
      this.#ranks[entry] = ranks[i] ?? 0;
      this.#results[entry] = results[i] ?? 0;
    }
  }
}
