/** Between the event loop and the grammar's thread. Every request but `close` gets one answer, in order. */
import type { PackedMetadata } from '../model/tokenizer/worker-messages.js';
import type { Constraint } from './types.js';

/** Words of `GrammarThreadData.control`: notified with each request and token; raised with each thing done. */
export const SIGNAL = 0;
export const PROGRESS = 1;
/** The matcher whose token is worked on; 0: none. */
export const AT_MATCHER = 2;
export const CONTROL_WORDS = 3;

export type GrammarThreadData = {
  readonly metadata: PackedMetadata;
  readonly endIds: readonly number[];
  /** Tokens that the model's logits have; at least those of the tokenizer. */
  readonly vocabSize: number;
  /** Shared memory. */
  readonly control: Int32Array;
};

export type GrammarRequest =
  | { readonly kind: 'compile'; readonly constraint: Constraint }
  /** Starts a matcher that has accepted `tokens`. End tokens are left out of masks before position `endsFrom`. */
  | {
      readonly kind: 'open';
      readonly matcher: number;
      readonly constraint: Constraint;
      readonly tokens: Int32Array;
      readonly endsFrom: number;
      /** Where masks are written, and tokens come (`shared-mask.ts`). */
      readonly mask: Int32Array;
    }
  /** Answered when the mask behind the last token is there. */
  | { readonly kind: 'ask'; readonly matcher: number }
  | { readonly kind: 'close'; readonly matcher: number };

export type GrammarAnswer =
  /** Once, first: the vocabulary is built. `cpuFile`: where Linux counts the thread's time on a CPU; null elsewhere. */
  | { readonly kind: 'ready'; readonly cpuFile: string | null }
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly message: string; readonly isTooComplex: boolean }
  /** Not an answer: a text is complete and nothing can follow, or nothing can though it isn't (`message`). */
  | { readonly kind: 'ended'; readonly matcher: number; readonly message: string | null };
