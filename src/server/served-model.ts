import type { PruningPlan } from '../engine/pruning.js';
import type { Engine } from '../engine/types.js';
import type { Composition } from '../model/composition.js';
import type { ModelActivations } from '../model/recipe.js';
import type { Recipe } from '../model/recipe-types.js';
import type { EncodeOptions, InfillIds, Tokenizer } from '../model/types.js';
import type { CostDesk, OnSequenceEnd } from './generation/usage.js';

/** `name`, `classes` and `layers` stand in files that Nibble quantized. */
export type ModelRecipe = Composition & { readonly activations: ModelActivations } & Partial<
    Pick<Recipe, 'name' | 'classes' | 'layers'>
  >;

/** A short name of how a model is quantized: its recipe, or else the type of most of its weights. */
export function recipeLabel({ name, weights, activations }: ModelRecipe): string {
  if (name !== undefined) return name;
  const [most = 'unknown'] = Object.keys(weights);
  return `${most} ${activations}`;
}

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
  readonly pruning: {
    /** Whether requests may ask for it, and the model's recipe may. */
    readonly isAllowed: boolean;
    readonly layers: number;
    /** What the recipe says; null: nothing. */
    readonly usual: PruningPlan | null;
  };
  /** Tokens for filling a gap in a text; null if the model has none. */
  readonly infill: InfillIds | null;
  /** Told of every sequence that ended. */
  readonly onSequenceEnd: OnSequenceEnd;
  /** What requests cost; null: nothing measures it. */
  readonly costs: CostDesk | null;
  /** Encodes off the event loop. */
  readonly encodeLong: (text: string, options: EncodeOptions) => Promise<Int32Array>;
};
