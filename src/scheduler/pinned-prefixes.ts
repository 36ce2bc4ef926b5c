import type { BlockPool } from './block-pool.js';
import type { PrefixIndex } from './prefix-index.js';
import { wholeRoot } from './pruning.js';

/**
 * Beginnings that stay in the cache for good: their blocks are held as if by a sequence that never ends, so they are
 * never evicted. What they hold is lost to all other sequences.
 */
export class PinnedPrefixes {
  private readonly pool: BlockPool;
  private readonly index: PrefixIndex;
  private readonly blockTokens: number;
  private readonly held = new Set<number>();

  constructor(pool: BlockPool, index: PrefixIndex, blockTokens: number) {
    this.pool = pool;
    this.index = index;
    this.blockTokens = blockTokens;
  }

  get blockCount(): number {
    return this.held.size;
  }

  has(block: number): boolean {
    return this.held.has(block);
  }

  /** Holds the whole blocks of this beginning, as far as they are in the cache; returns them in order. */
  pin(ids: Int32Array): Int32Array {
    const blocks = this.ready(ids);
    for (const block of blocks) {
      if (this.held.has(block)) continue;
      this.pool.retain(block);
      this.held.add(block);
    }
    return blocks;
  }

  /**
   * Enters the next block of this beginning, held, with content from elsewhere that `fill` puts into it. False, and
   * nothing changed, if no block is free or the next one is just being computed. The beginning must have one more.
   */
  restore(ids: Int32Array, fill: (block: number) => void): boolean {
    const parents = this.pin(ids);
    const offset = parents.length * this.blockTokens;
    const parent = parents.at(-1) ?? wholeRoot;
    if (offset + this.blockTokens > ids.length) throw new RangeError('every block of the prefix is there already');
    if (this.index.find(parent, ids, offset) >= 0) return false;
    const block = this.pool.take();
    if (block < 0) return false;
    try {
      fill(block);
    } catch (error) {
      this.pool.release(block);
      throw error;
    }
    this.index.insert(block, parent, ids, offset);
    this.index.makeReady(block);
    this.pool.keep(block);
    this.held.add(block);
    return true;
  }

  /** Pinned blocks at the start of these tokens: a sequence shares them instead of needing its own. */
  sharedWith(ids: Int32Array): number {
    if (this.held.size === 0) return 0;
    return this.ready(ids).filter((block) => this.held.has(block)).length;
  }

  private ready(ids: Int32Array): Int32Array {
    const blocks: number[] = [];
    let parent = wholeRoot;
    for (let offset = 0; offset + this.blockTokens <= ids.length; offset += this.blockTokens) {
      parent = this.index.find(parent, ids, offset);
      if (parent < 0 || !this.index.isReady(parent)) break;
      blocks.push(parent);
    }
    return Int32Array.from(blocks);
  }
}
