/**
 * The KV blocks as the scheduler sees them: ids in [0, blockCount), a stack of free ones, and a reference count each.
 * A block is free exactly when its count is 0. Counts above 1 are what sharing a prefix needs.
 */
export class BlockPool {
  readonly blockCount: number;
  private readonly freeIds: Int32Array;
  private readonly references: Int32Array;
  private freeTop: number;

  constructor(blockCount: number) {
    this.blockCount = blockCount;
    this.freeIds = new Int32Array(blockCount);
    this.references = new Int32Array(blockCount);
    // Filled backwards, so that low ids are handed out first: a small load touches little of the pool's memory.
    for (let i = 0; i < blockCount; i++) this.freeIds[i] = blockCount - 1 - i;
    this.freeTop = blockCount;
  }

  get freeCount(): number {
    return this.freeTop;
  }

  get usedCount(): number {
    return this.blockCount - this.freeTop;
  }

  referenceCount(id: number): number {
    return this.references[id] ?? 0;
  }

  /** Takes `count` blocks with one reference each, or null (and nothing taken) if so many aren't free. */
  allocate(count: number): Int32Array | null {
    if (count > this.freeTop) return null;
    const ids = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      const id = this.freeIds[--this.freeTop] as number;
      this.references[id] = 1;
      ids[i] = id;
    }
    return ids;
  }

  /** One more holder of a block that is in use. Throws if it is free: its content may be overwritten any time. */
  retain(id: number): void {
    const count = this.references[id] ?? 0;
    if (count === 0) throw new Error(`KV block ${id} is retained but free`);
    this.references[id] = count + 1;
  }

  /** Gives back one reference to each block. Throws on a block that is free already. */
  release(ids: Int32Array): void {
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      const count = this.references[id] ?? 0;
      if (count === 0) throw new Error(`KV block ${id} is released twice`);
      this.references[id] = count - 1;
      if (count === 1) this.freeIds[this.freeTop++] = id;
    }
  }

  /** Throws unless the free stack holds exactly the blocks without references, each once. */
  assertConsistent(): void {
    const seen = new Uint8Array(this.blockCount);
    for (let i = 0; i < this.freeTop; i++) {
      const id = this.freeIds[i] as number;
      if (seen[id] === 1) throw new Error(`KV block ${id} is free twice`);
      seen[id] = 1;
    }
    for (let id = 0; id < this.blockCount; id++) {
      const isFree = seen[id] === 1;
      if (isFree !== (this.references[id] === 0)) {
        throw new Error(`KV block ${id} is ${isFree ? 'free' : 'not free'} with ${this.references[id]} references`);
      }
    }
  }
}
