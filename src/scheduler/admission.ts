import type { KvBlocks } from './kv-blocks.js';
import type { PinnedPrefixes } from './pinned-prefixes.js';
import { type Sequence, sampledTokensMax } from './sequence.js';
import type { Refusal, SchedulerLimits, SequenceSpec } from './types.js';

/** Whether a sequence could ever run on this server, beside the pinned prefixes; null if so. */
export function refuseSpec<T>(spec: SequenceSpec<T>, limits: SchedulerLimits, pinned: PinnedPrefixes): Refusal | null {
  const promptTokens = spec.promptIds.length;
  if (promptTokens > limits.contextTokens) {
    return { kind: 'prompt_too_long', promptTokens, limitTokens: limits.contextTokens };
  }
  const neededTokens = promptTokens + sampledTokensMax(promptTokens, spec.maxTokens, limits.contextTokens);
  const neededBlocks = Math.ceil(neededTokens / limits.blockTokens);
  const freeBlocks = limits.blockCount - pinned.blockCount;
  // What scores its prompt computes all of it, in blocks of its own.
  const shared = spec.scorePrompt || neededBlocks <= freeBlocks ? 0 : pinned.sharedWith(spec.promptIds.subarray(0, -1));
  if (neededBlocks - shared > freeBlocks) {
    return { kind: 'never_fits', neededTokens, capacityTokens: freeBlocks * limits.blockTokens };
  }
  return null;
}

/**
 * Room for starting sequences: slots, and blocks beyond those that running prompts still need. A sequence starts when
 * the blocks of its prompt are there and a reserve of one for each running sequence remains: none of them has to be
 * preempted for `blockTokens` tokens. The continuation's blocks are not set aside.
 */
export class Room<T> {
  private readonly kv: KvBlocks<T>;
  private readonly blockTokens: number;
  private slots: number;
  private blocks: number;
  private reserve = 0;

  constructor(running: readonly Sequence<T>[], kv: KvBlocks<T>, limits: SchedulerLimits) {
    this.kv = kv;
    this.blockTokens = limits.blockTokens;
    this.slots = limits.sequencesMax - running.length;
    this.blocks = kv.pool.availableCount;
    for (const sequence of running) {
      if (sequence.state !== 'running') continue;
      this.reserve++;
      if (!sequence.isDecoding) this.blocks -= kv.missing(sequence, sequence.prefillTokens);
    }
  }

  /** Takes the room that a sequence without blocks needs to start; false, and nothing taken, if there isn't enough. */
  take(sequence: Sequence<T>): boolean {
    if (this.slots <= 0) return false;
    const needed = Math.ceil(sequence.known / this.blockTokens);
    // Reading the cache takes longer than the rest: only where it decides.
    if (this.blocks - needed < this.reserve) {
      const { shared, sharedAvailable } = this.kv.lookUp(sequence);
      if (this.blocks - sharedAvailable - (needed - shared) < this.reserve) return false;
      this.blocks += shared - sharedAvailable;
    }
    this.slots--;
    this.blocks -= needed;
    this.reserve++;
    return true;
  }
}
