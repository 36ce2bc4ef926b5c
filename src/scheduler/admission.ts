import type { BlockPool } from './block-pool.js';
import type { Sequence } from './sequence.js';
import { sampledTokensMax } from './sequence.js';
import type { Refusal, SchedulerLimits, SequenceSpec } from './types.js';

/** Whether a sequence could ever run on this server; null if so. */
export function refuseSpec<T>(spec: SequenceSpec<T>, limits: SchedulerLimits): Refusal | null {
  const promptTokens = spec.promptIds.length;
  if (promptTokens > limits.contextTokens) {
    return { kind: 'prompt_too_long', promptTokens, limitTokens: limits.contextTokens };
  }
  const neededTokens = promptTokens + sampledTokensMax(promptTokens, spec.maxTokens, limits.contextTokens);
  if (Math.ceil(neededTokens / limits.blockTokens) > limits.blockCount) {
    return { kind: 'never_fits', neededTokens, capacityTokens: limits.blockCount * limits.blockTokens };
  }
  return null;
}

/**
 * The waiting line, strictly first come, first served: a sequence that needs many blocks is never overtaken by smaller
 * ones, which could otherwise keep it waiting for ever. It is short (`waitingMax`), so plain array operations do.
 */
export class WaitingLine<T> {
  private readonly line: Sequence<T>[] = [];
  private readonly limits: SchedulerLimits;

  constructor(limits: SchedulerLimits) {
    this.limits = limits;
  }

  get length(): number {
    return this.line.length;
  }

  get head(): Sequence<T> | null {
    return this.line[0] ?? null;
  }

  [Symbol.iterator](): Iterator<Sequence<T>> {
    return this.line[Symbol.iterator]();
  }

  /** Whether all of `arrivals` may join; those in line that could start at once don't count as waiting. */
  hasRoomFor(arrivals: readonly Sequence<T>[], freeSlots: number, freeBlocks: number): boolean {
    const total = this.line.length + arrivals.length;
    let slots = freeSlots;
    let blocks = freeBlocks;
    let startable = 0;
    while (startable < total) {
      const sequence = this.line[startable] ?? arrivals[startable - this.line.length];
      slots--;
      blocks -= sequence?.blocksNeeded ?? 0;
      if (slots < 0 || blocks < 0) break;
      startable++;
    }
    return total - startable <= this.limits.waitingMax;
  }

  join(arrivals: readonly Sequence<T>[]): void {
    for (const sequence of arrivals) this.line.push(sequence);
  }

  leave(sequence: Sequence<T>): void {
    const index = this.line.indexOf(sequence);
    if (index >= 0) this.line.splice(index, 1);
  }

  /** Takes the first in line if a slot and all its blocks are free, reserving the blocks; null otherwise. */
  admitHead(freeSlots: number, pool: BlockPool): Sequence<T> | null {
    const head = this.line[0];
    if (head === undefined || freeSlots <= 0) return null;
    const blocks = pool.allocate(head.blocksNeeded);
    if (blocks === null) return null;
    this.line.shift();
    head.admit(blocks, 0);
    return head;
  }
}
