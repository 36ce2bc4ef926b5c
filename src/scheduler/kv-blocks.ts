import { BlockPool } from './block-pool.js';
import { PinnedPrefixes } from './pinned-prefixes.js';
import { PrefixIndex } from './prefix-index.js';
import type { Sequence } from './sequence.js';
import type { SchedulerLimits } from './types.js';

/** What a sequence finds in the cache where its own blocks end. */
export type NextBlock = 'absent' | 'pending' | 'ready';

/**
 * The block tables of sequences, joined with the prefix cache. A sequence's table begins with blocks of the index, each
 * the child of the one before; what follows is its own. Blocks are given back at once when a sequence ends, even while
 * a step in flight reads or writes them: steps run in the order in which they were submitted, so whoever gets such a
 * block next writes to it later.
 */
export class KvBlocks<T> {
  readonly pool: BlockPool;
  readonly index: PrefixIndex;
  readonly pinned: PinnedPrefixes;
  private readonly blockTokens: number;
  /** What `find` has found. */
  private readonly found: number[] = [];

  constructor(limits: SchedulerLimits) {
    this.blockTokens = limits.blockTokens;
    this.index = new PrefixIndex(limits.blockCount, limits.blockTokens);
    this.pool = new BlockPool(limits.blockCount, (id) => this.index.remove(id));
    this.pinned = new PinnedPrefixes(this.pool, this.index, limits.blockTokens);
  }

  /** Blocks that the sequence lacks to hold `tokens` tokens. */
  missing(sequence: Sequence<T>, tokens: number): number {
    return Math.max(0, Math.ceil(tokens / this.blockTokens) - sequence.blockCount);
  }

  /** For a sequence without blocks: how many it would share, and how many of these now count as available. */
  lookUp(sequence: Sequence<T>): { readonly shared: number; readonly sharedAvailable: number } {
    const { ids, cacheableTokens, windowTokens, scope } = sequence;
    let shared = 0;
    let sharedAvailable = 0;
    let parent = sequence.root;
    for (let offset = 0; offset + windowTokens <= cacheableTokens; offset += windowTokens) {
      if (this.find(parent, ids, offset, windowTokens, scope) !== 'ready') break;
      for (const block of this.found) {
        shared++;
        if (this.pool.referenceCount(block) === 0) sharedAvailable++;
        parent = block;
      }
    }
    return { shared, sharedAvailable };
  }

  /**
   * Lets the sequence share every ready block that continues its own ones, as long as they are all that it has computed
   * and planned; says what comes behind them. `pending`: another sequence is just computing the next block.
   */
  share(sequence: Sequence<T>): NextBlock {
    const { blockTokens } = this;
    const { windowTokens } = sequence;
    for (;;) {
      const offset = sequence.planned;
      if (offset !== sequence.indexedBlocks * blockTokens || sequence.readyBlocks !== sequence.indexedBlocks) {
        return 'absent';
      }
      if (offset + windowTokens > sequence.cacheableTokens) return 'absent';
      const next = this.find(this.lastIndexed(sequence), sequence.tokens, offset, windowTokens, sequence.scope);
      if (next !== 'ready') return next;
      for (const block of this.found) {
        this.pool.retain(block);
        this.replaceOrAdd(sequence, sequence.indexedBlocks, block);
        sequence.indexedBlocks++;
        sequence.readyBlocks++;
      }
      sequence.planned += windowTokens;
      sequence.computed += windowTokens;
      if (sequence.preemptions === 0) sequence.cachedTokens += windowTokens;
    }
  }

  /**
   * The block that continues `parent` and that a sequence of this scope may share: of the other scopes only what is
   * pinned, which doesn't depend on anybody's requests. Preferred, because it takes no further block.
   */
  findFor(scope: number, parent: number, ids: Int32Array, offset: number): number {
    if (scope !== 0 && this.pinned.blockCount > 0) {
      const common = this.index.find(parent, ids, offset);
      if (common >= 0 && this.pinned.has(common)) return common;
    }
    return this.index.find(parent, ids, offset, scope);
  }

  /** Looks for the blocks of `tokens` ids from `offset` on, one behind the other; they are in `found` if all are ready. */
  private find(parent: number, ids: Int32Array, offset: number, tokens: number, scope: number): NextBlock {
    let next: NextBlock = 'ready';
    this.found.length = 0;
    for (let at = offset, block = parent; at < offset + tokens; at += this.blockTokens) {
      block = this.findFor(scope, block, ids, at);
      if (block < 0) return 'absent';
      if (!this.index.isReady(block)) next = 'pending';
      this.found.push(block);
    }
    return next;
  }

  /** Gives the sequence blocks for `tokens` tokens, as far as there are any; returns whether there were enough. */
  reserve(sequence: Sequence<T>, tokens: number): boolean {
    for (let missing = this.missing(sequence, tokens); missing > 0; missing--) {
      const id = this.pool.take();
      if (id < 0) return false;
      sequence.addBlock(id);
    }
    return true;
  }

  /** Enters the known tokens that were just planned as pending, so that others wait for them instead of repeating. */
  announce(sequence: Sequence<T>): void {
    const { index, blockTokens } = this;
    const { scope } = sequence;
    const end = Math.min(sequence.planned, sequence.known, sequence.indexableTokens);
    while ((sequence.indexedBlocks + 1) * blockTokens <= end) {
      const at = sequence.indexedBlocks;
      const parent = this.lastIndexed(sequence);
      if (this.findFor(scope, parent, sequence.tokens, at * blockTokens) >= 0) return;
      index.insert(sequence.blocks[at] as number, parent, sequence.tokens, at * blockTokens, scope);
      sequence.indexedBlocks++;
    }
  }

  /** A step has returned: what it completed can be shared. A block that somebody else has completed too is given up. */
  publish(sequence: Sequence<T>): void {
    const { index, blockTokens, pool } = this;
    const { scope } = sequence;
    const end = Math.min(sequence.computed, sequence.indexableTokens);
    while ((sequence.readyBlocks + 1) * blockTokens <= end) {
      const at = sequence.readyBlocks;
      const own = sequence.blocks[at] as number;
      if (at === sequence.indexedBlocks) {
        const parent = this.lastIndexed(sequence);
        const other = this.findFor(scope, parent, sequence.tokens, at * blockTokens);
        if (other >= 0) {
          if (!index.isReady(other)) return;
          pool.retain(other);
          this.replaceOrAdd(sequence, at, other);
          sequence.indexedBlocks++;
          sequence.readyBlocks++;
          continue;
        }
        index.insert(own, parent, sequence.tokens, at * blockTokens, scope);
        sequence.indexedBlocks++;
      }
      index.makeReady(own);
      pool.keep(own);
      sequence.readyBlocks++;
    }
  }

  /** Takes all blocks from a sequence, the last one first: of a chain that nobody uses the end is evicted first. */
  free(sequence: Sequence<T>): void {
    for (let at = sequence.indexedBlocks - 1; at >= sequence.readyBlocks; at--) {
      this.index.remove(sequence.blocks[at] as number);
    }
    for (let at = sequence.blockCount - 1; at >= 0; at--) this.pool.release(sequence.blocks[at] as number);
    sequence.blockCount = 0;
    sequence.indexedBlocks = 0;
    sequence.readyBlocks = 0;
  }

  private lastIndexed(sequence: Sequence<T>): number {
    return sequence.indexedBlocks === 0 ? sequence.root : (sequence.blocks[sequence.indexedBlocks - 1] as number);
  }

  private replaceOrAdd(sequence: Sequence<T>, at: number, block: number): void {
    if (at === sequence.blockCount) {
      sequence.addBlock(block);
      return;
    }
    this.pool.release(sequence.blocks[at] as number);
    sequence.blocks[at] = block;
  }
}
