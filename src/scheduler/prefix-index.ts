/** Is told which blocks everybody can find; `ids` is a view that holds only during the call. */
export type PrefixWatcher = {
  stored(block: number, parent: number, ids: Int32Array): void;
  removed(block: number): void;
};

/**
 * Which KV block holds which tokens: trees whose nodes are blocks. A block's key is its parent block (at the start of a
 * sequence the tree's own negative number) and its token ids; a hash table finds it, and the ids themselves are
 * compared, so that a collision of hashes can't join two texts. A node is `pending` while the step that fills it is in
 * flight, then `ready`. A node also belongs to a scope and is found in that one only; 0 is everybody's.
 */
export class PrefixIndex {
  watcher: PrefixWatcher | null = null;
  private readonly blockTokens: number;
  private readonly ids: Int32Array;
  private readonly parents: Int32Array;
  private readonly scopes: Float64Array;
  private readonly children: Int32Array;
  private readonly states: Uint8Array;
  /** Hash table with chains: `heads[hash & mask]` is a node, `next[node]` the one behind it, −1 ends. */
  private readonly heads: Int32Array;
  private readonly next: Int32Array;
  private readonly mask: number;

  constructor(blockCount: number, blockTokens: number) {
    this.blockTokens = blockTokens;
    this.ids = new Int32Array(blockCount * blockTokens);
    this.parents = new Int32Array(blockCount).fill(-1);
    this.scopes = new Float64Array(blockCount);
    this.children = new Int32Array(blockCount);
    this.states = new Uint8Array(blockCount);
    this.next = new Int32Array(blockCount).fill(-1);
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, blockCount)));
    this.mask = size - 1;
    this.heads = new Int32Array(size).fill(-1);
  }

  /** The block that continues `parent` with the `blockTokens` ids of `tokens` from `offset` on; −1 if there is none. */
  find(parent: number, tokens: Int32Array, offset: number, scope = 0): number {
    let node = this.heads[this.bucket(parent, tokens, offset, scope)] as number;
    while (node >= 0 && !this.matches(node, parent, tokens, offset, scope)) node = this.next[node] as number;
    return node;
  }

  isReady(block: number): boolean {
    return this.states[block] === ready;
  }

  /** Whether the block is a node at all, ready or pending. */
  has(block: number): boolean {
    return this.states[block] !== absent;
  }

  parentOf(block: number): number {
    return this.parents[block] as number;
  }

  /** Enters a block as pending. The key must be new, and the parent a node or −1. */
  insert(block: number, parent: number, tokens: Int32Array, offset: number, scope = 0): void {
    if (this.states[block] !== absent) throw new Error(`KV block ${block} is in the prefix index already`);
    if (parent >= 0 && this.states[parent] === absent) throw new Error(`KV block ${parent} can't be a parent`);
    const own = block * this.blockTokens;
    for (let i = 0; i < this.blockTokens; i++) this.ids[own + i] = tokens[offset + i] as number;
    const bucket = this.bucket(parent, tokens, offset, scope);
    this.parents[block] = parent;
    this.scopes[block] = scope;
    this.states[block] = pending;
    this.next[block] = this.heads[bucket] as number;
    this.heads[bucket] = block;
    if (parent >= 0) this.children[parent] = (this.children[parent] as number) + 1;
  }

  /** The step that fills the block has returned. */
  makeReady(block: number): void {
    this.states[block] = ready;
    if (this.watcher === null || this.scopes[block] !== 0) return;
    const own = block * this.blockTokens;
    this.watcher.stored(block, this.parentOf(block), this.ids.subarray(own, own + this.blockTokens));
  }

  /** Takes a leaf out. Throws if other blocks continue it: they would be found under whatever takes its place. */
  remove(block: number): void {
    if (this.states[block] === absent) throw new Error(`KV block ${block} is not in the prefix index`);
    if (this.children[block] !== 0) throw new Error(`KV block ${block} has ${this.children[block]} continuations`);
    const parent = this.parents[block] as number;
    const scope = this.scopes[block] as number;
    const bucket = this.bucket(parent, this.ids, block * this.blockTokens, scope);
    let node = this.heads[bucket] as number;
    if (node === block) {
      this.heads[bucket] = this.next[block] as number;
    } else {
      while (this.next[node] !== block) node = this.next[node] as number;
      this.next[node] = this.next[block] as number;
    }
    if (this.states[block] === ready && scope === 0) this.watcher?.removed(block);
    this.states[block] = absent;
    if (parent >= 0) this.children[parent] = (this.children[parent] as number) - 1;
  }

  private matches(node: number, parent: number, tokens: Int32Array, offset: number, scope: number): boolean {
    if (this.parents[node] !== parent || this.scopes[node] !== scope) return false;
    const own = node * this.blockTokens;
    for (let i = 0; i < this.blockTokens; i++) if (this.ids[own + i] !== tokens[offset + i]) return false;
    return true;
  }

  /** FNV-1a over words, then a mix of the high bits into the low ones that the mask keeps. */
  private bucket(parent: number, tokens: Int32Array, offset: number, scope: number): number {
    let hash = Math.imul(0x811c9dc5 ^ parent ^ scope, 0x01000193);
    for (let i = offset; i < offset + this.blockTokens; i++) hash = Math.imul(hash ^ (tokens[i] as number), 0x01000193);
    hash ^= hash >>> 15;
    return (Math.imul(hash, 0x2c1b3c6d) >>> 8) & this.mask;
  }
}

const absent = 0;
const pending = 1;
const ready = 2;
