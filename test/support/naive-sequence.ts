/** What the naive scheduler (naive-scheduler.ts) keeps of sequences, their blocks and the steps in flight. */

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
