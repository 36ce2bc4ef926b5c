import type { Engine } from '../engine/types.js';
import type { Recipe } from '../model/recipe.js';
import type { EncodeOptions, InfillIds, Tokenizer } from '../model/types.js';
import type { ActivationFormat } from '../native/contract.js';
import type { OnSequenceEnd } from './generation/usage.js';

export type ModelRecipe = Recipe & { readonly activations: ActivationFormat };

/** A loaded model as the routes see it. */
export type ServedModel = {
  /** The id that the API reports; requests name it, or `default`. */
  readonly id: string;
  readonly createdSeconds: number;
  /** Changes whenever the same request could give another result: file, version, activation format. */
  readonly fingerprint: string;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  /** How it is quantized. */
  readonly recipe: ModelRecipe;
  /** The chat template and how to apply it; null if the model has none. */
  readonly chat: {
    readonly source: string;
    render(variables: Readonly<Record<string, unknown>>): Promise<string>;
  } | null;
  /** Tokens for filling a gap in a text; null if the model has none. */
  readonly infill: InfillIds | null;
  /** Told of every sequence that ended. */
  readonly onSequenceEnd: OnSequenceEnd;
  /** Encodes off the event loop. */
  readonly encodeLong: (text: string, options: EncodeOptions) => Promise<Int32Array>;
};
