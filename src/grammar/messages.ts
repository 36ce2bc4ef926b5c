/** Between the event loop and the grammar's thread. Every request but `close` gets one answer, in order. */
import type { PackedMetadata } from '../model/tokenizer/worker-messages.js';
import type { Constraint } from './types.js';

export type GrammarThreadData = {
  readonly metadata: PackedMetadata;
  readonly endIds: readonly number[];
  /** Tokens that the model's logits have; at least those of the tokenizer. */
  readonly vocabSize: number;
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
    }
  | { readonly kind: 'accept'; readonly matcher: number; readonly token: number }
  | { readonly kind: 'close'; readonly matcher: number };

export type GrammarAnswer =
  /** Once, first: the vocabulary is built. `cpuFile`: where Linux counts the thread's time on a CPU; null elsewhere. */
  | { readonly kind: 'ready'; readonly cpuFile: string | null }
  | { readonly kind: 'compiled' }
  | { readonly kind: 'mask'; readonly mask: Int32Array }
  /** The text is complete and nothing can follow. */
  | { readonly kind: 'finished' }
  | { readonly kind: 'refused'; readonly message: string; readonly isTooComplex: boolean };
