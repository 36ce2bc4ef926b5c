/**
 * The KV blocks as the scheduler sees them: ids in [0, blockCount) and a reference count each. A block without
 * references is either free, on a stack, or cached: its content may be wanted again, so it stays in a list ordered by
 * the time of its last release and is only taken, oldest first, when no block is free.
 */
export class BlockPool {
  readonly blockCount: number;
  private readonly freeIds: Int32Array;
  private freeTop: number;
  private readonly references: Int32Array;
  /** 1: the block's content is kept when its last reference goes. */
  private readonly isKept: Uint8Array;
  /** The list of cached blocks, a ring through the extra element at `blockCount`: its `after` is the oldest. */
  private readonly before: Int32Array;
  private readonly after: Int32Array;
  private cached = 0;
  private readonly onEvict: (id: number) => void;

  /** `onEvict` is told that the content of a cached block is about to be lost. */
  constructor(blockCount: number, onEvict: (id: number) => void) {
    this.blockCount = blockCount;
    this.onEvict = onEvict;
    this.freeIds = new Int32Array(blockCount);
    this.references = new Int32Array(blockCount);
    this.isKept = new Uint8Array(blockCount);
    this.before = new Int32Array(blockCount + 1).fill(-1);
    this.after = new Int32Array(blockCount + 1).fill(-1);
    this.before[blockCount] = blockCount;
    this.after[blockCount] = blockCount;
    // Filled backwards, so that low ids are handed out first: a small load touches little of the pool's memory.
    for (let i = 0; i < blockCount; i++) this.freeIds[i] = blockCount - 1 - i;
    this.freeTop = blockCount;
  }

  /** Blocks that can be taken: free ones and cached ones. */
  get availableCount(): number {
    return this.freeTop + this.cached;
  }

  /** Blocks without references whose content is kept. */
  get cachedCount(): number {
    return this.cached;
  }

  /** Blocks with references. */
  get usedCount(): number {
    return this.blockCount - this.availableCount;
  }

  referenceCount(id: number): number {
    return this.references[id] ?? 0;
  }

  /** Takes a block, with one reference; −1 if none is available. */
  take(): number {
    let id: number;
    if (this.freeTop > 0) {
      id = this.freeIds[--this.freeTop] as number;
    } else {
      id = this.after[this.blockCount] as number;
      if (id === this.blockCount) return -1;
      this.unlink(id);
      this.isKept[id] = 0;
      this.onEvict(id);
    }
    this.references[id] = 1;
    return id;
  }

  /** One more holder of a block that is in use or cached. Throws if it is free: its content may be overwritten. */
  retain(id: number): void {
    const count = this.references[id] ?? 0;
    if (count === 0) {
      if (this.isKept[id] !== 1) throw new Error(`KV block ${id} is retained but free`);
      this.unlink(id);
    }
    this.references[id] = count + 1;
  }

  /** Gives back one reference. Throws on a block that has none. */
  release(id: number): void {
    const count = this.references[id] ?? 0;
    if (count === 0) throw new Error(`KV block ${id} is released twice`);
    this.references[id] = count - 1;
    if (count > 1) return;
    if (this.isKept[id] === 1) this.link(id);
    else this.freeIds[this.freeTop++] = id;
  }

  /** Says that a block in use is worth keeping after its last release. */
  keep(id: number): void {
    if (this.references[id] === 0) throw new Error(`KV block ${id} is kept but not in use`);
    this.isKept[id] = 1;
  }

  private link(id: number): void {
    const newest = this.before[this.blockCount] as number;
    this.after[newest] = id;
    this.before[id] = newest;
    this.after[id] = this.blockCount;
    this.before[this.blockCount] = id;
    this.cached++;
  }

  private unlink(id: number): void {
    const before = this.before[id] as number;
    const after = this.after[id] as number;
    this.after[before] = after;
    this.before[after] = before;
    this.cached--;
  }

  /** Cached blocks, the next to be taken first. For checks. */
  cachedIds(): readonly number[] {
    const ids: number[] = [];
    for (let id = this.after[this.blockCount] as number; id !== this.blockCount; id = this.after[id] as number) {
      if (ids.length >= this.blockCount) throw new Error('the list of cached KV blocks has a loop');
      ids.push(id);
    }
    return ids;
  }

  /** Throws unless every block without references is free or cached, once, and no other is. */
  assertConsistent(): void {
    const seen = new Uint8Array(this.blockCount);
    const note = (id: number, kept: number): void => {
      if (seen[id] === 1) throw new Error(`KV block ${id} is available twice`);
      if (this.isKept[id] !== kept) throw new Error(`KV block ${id} is in the wrong list`);
      seen[id] = 1;
    };
    for (let i = 0; i < this.freeTop; i++) note(this.freeIds[i] as number, 0);
    const cached = this.cachedIds();
    if (cached.length !== this.cached) throw new Error(`${cached.length} KV blocks are cached, not ${this.cached}`);
    for (const id of cached) note(id, 1);
    for (let id = 0; id < this.blockCount; id++) {
      if ((seen[id] === 1) !== (this.references[id] === 0)) {
        throw new Error(`KV block ${id} has ${this.references[id]} references`);
      }
    }
  }
}
