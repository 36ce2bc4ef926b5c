/** What the naive scheduler (naive-scheduler.ts) keeps of sequences, their blocks and the steps in flight. */
import type { SchedulerLimits, SequenceSpec } from '../../src/scheduler/types.js';

export type Entry = {
  readonly name: string;
  readonly first: number;
  readonly count: number;
  readonly samples: boolean;
  /** How many of the last tokens are guesses. */
  readonly drafts: number;
};
export type Flight = readonly Entry[];

/** `text`: the tokens up to the block's end, once others may find it; `ready`: computed. */
export type Block = { text: string | null; ready: boolean; releasedAt: number };

export type Naive = {
  readonly name: string;
  readonly order: number;
  readonly prompt: readonly number[];
  readonly limit: number;
  readonly score: boolean;
  readonly priority: number;
  readonly tenant: string;
  readonly guesses: boolean;
  /** Tokens that come together, where the last of such windows ends, and what tells its text from that of others. */
  readonly window: number;
  readonly windowsEnd: number;
  readonly kind: string;
  readonly sampled: number[];
  state: 'waiting' | 'running' | 'preempted' | 'ended' | 'gone';
  taken: number;
  done: number;
  /** Tokens known when it was admitted. */
  start: number;
  scored: number;
  preemptions: number;
  blocks: Block[];
};

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export function makeNaive(spec: SequenceSpec<string>, limits: SchedulerLimits, order: number): Naive {
  const prompt = [...spec.promptIds];
  const limit = prompt.length + Math.min(spec.maxTokens, limits.contextTokens - prompt.length);
  const { owner: name, scorePrompt: score, priority, tenant } = spec;
  const guesses = spec.drafter !== undefined;
  const { windowTokens = 1, windows = 0, policy = 0 } = spec.pruning ?? {};
  const windowsEnd = windows * windowTokens;
  const isPruned = windowsEnd > 0;
  const window = isPruned ? windowTokens : limits.blockTokens;
  const pruning = { window, windowsEnd, kind: isPruned ? `pruned by ${policy}: ` : '' };
  const rest = { ...pruning, state: 'waiting' as const, taken: 0, done: 0, scored: 0, preemptions: 0 };
  const start = prompt.length;
  return { name, order, prompt, limit, score, priority, tenant, guesses, sampled: [], blocks: [], start, ...rest };
}

/** So many tokens, or fewer, so that none of its windows is cut. */
export function whole(one: Naive, count: number): number {
  let end = one.taken + count;
  while (end > one.taken && end < one.windowsEnd && end % one.window !== 0) end--;
  return Math.max(0, end - one.taken);
}

/** Tokens whose blocks others may find: of pruned ones whole windows. */
export function shareable(one: Naive): number {
  return one.windowsEnd > 0 ? one.windowsEnd : Number.POSITIVE_INFINITY;
}

/** Tokens that may come from the cache. */
export function usable(one: Naive): number {
  const known = one.prompt.length + one.sampled.length - 1;
  return Math.min(one.score ? Math.min(one.scored, known) : known, shareable(one));
}

/** What a block is known by: everything up to its end, and how it was computed. */
export function textOf(one: Naive, end: number): string {
  return one.kind + [...one.prompt, ...one.sampled].slice(0, end).join(',');
}

/** Targets of the rows wanted from tokens [first, first + count). */
export function rowsOf(one: Naive, { first, count }: { readonly first: number; readonly count: number }): number[] {
  const rows: number[] = [];
  for (let p = first; p < first + count; p++) {
    if (p < one.prompt.length - 1 && one.score && p >= one.scored) rows.push(one.prompt[p + 1] ?? Number.NaN);
    if (p >= one.start - 1) rows.push(-1);
  }
  return rows;
}
