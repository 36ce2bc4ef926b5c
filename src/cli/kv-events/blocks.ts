/**
 * What the prefix cache holds, as vLLM's KV-cache events: routers that know where a prompt's beginning lies send it
 * there. The form is that of vllm.distributed.kv_events since vLLM 0.24: MessagePack maps that name their `type`, in a
 * batch `[seconds, [events], rank]`. Before it events were arrays; today's routers refuse those.
 */
import { createHash } from 'node:crypto';
import { type Packed, packArray, packFloat, packMap, packNull, packText, packUnsigned } from './msgpack.js';

type Stored = {
  readonly kind: 'stored';
  readonly parent: bigint | null;
  readonly hashes: bigint[];
  readonly ids: number[];
  last: number;
};
type Removed = { readonly kind: 'removed'; readonly hashes: bigint[] };

/** The hash of a block: of its parent's and its tokens, so that equal beginnings have equal hashes on every replica. */
export function hashOf(parent: bigint | null, ids: Int32Array): bigint {
  const bytes = Buffer.alloc(8 + 4 * ids.length);
  bytes.writeBigUInt64LE(parent ?? 0n);
  for (const [i, id] of ids.entries()) bytes.writeInt32LE(id, 8 + 4 * i);
  return createHash('sha256').update(bytes).digest().readBigUInt64LE();
}

/** Collects what happens to the blocks of one model until it is sent. */
export class BlockEvents {
  readonly #blockTokens: number;
  /** Of the blocks that are known outside, by number. */
  readonly #hashes = new Map<number, bigint>();
  #events: (Stored | Removed)[] = [];

  constructor(blockTokens: number) {
    this.#blockTokens = blockTokens;
  }

  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  /** `parent`: a block, or −1 at the start of a text. Other trees (of pruned prompts) are not told. */
  stored(block: number, parent: number, ids: Int32Array): void {
    const above = parent < 0 ? null : (this.#hashes.get(parent) ?? null);
    if (parent < -1 || (parent >= 0 && above === null)) return;
    const hash = hashOf(above, ids);
    this.#hashes.set(block, hash);
    const last = this.#events.at(-1);
    if (last?.kind === 'stored' && last.last === parent) {
      last.hashes.push(hash);
      last.ids.push(...ids);
      last.last = block;
    } else this.#events.push({ kind: 'stored', parent: above, hashes: [hash], ids: [...ids], last: block });
  }

  removed(block: number): void {
    const hash = this.#hashes.get(block);
    if (hash === undefined) return;
    this.#hashes.delete(block);
    const last = this.#events.at(-1);
    if (last?.kind === 'removed') last.hashes.push(hash);
    else this.#events.push({ kind: 'removed', hashes: [hash] });
  }

  /** Everything since the last time, as one batch. */
  take(nowSeconds: number): Buffer {
    const events = this.#events.map((event) => this.#pack(event));
    this.#events = [];
    return packBatch(nowSeconds, events);
  }

  #pack(event: Stored | Removed): Packed {
    const hashes = packArray(event.hashes.map(packUnsigned));
    if (event.kind === 'removed') return packMap({ type: packText('BlockRemoved'), block_hashes: hashes, medium });
    return packMap({
      type: packText('BlockStored'),
      block_hashes: hashes,
      parent_block_hash: event.parent === null ? packNull() : packUnsigned(event.parent),
      token_ids: packArray(event.ids.map((id) => packUnsigned(BigInt(id)))),
      block_size: packUnsigned(BigInt(this.#blockTokens)),
      // No adapter (LoRA) is ever in use.
      lora_id: packNull(),
      medium,
      lora_name: packNull(),
    });
  }
}

/** What routers call the memory that the engine computes with; "CPU" would be one that blocks must be fetched from. */
const medium = packText('GPU');

/** Of the only rank that there is. */
const packBatch = (seconds: number, events: readonly Packed[]): Buffer =>
  packArray([packFloat(seconds), packArray(events), packUnsigned(0n)]);

/** A batch with `AllBlocksCleared` alone: the model has gone, and its cache with it. */
export const packCleared = (nowSeconds: number): Buffer =>
  packBatch(nowSeconds, [packMap({ type: packText('AllBlocksCleared') })]);
