/** The part of the contract that watches or rounds the inputs of linear layers: for calibration and evaluation. */

/** Inputs of the linear layers of a layer, in the order of their numbers: `4 · layer + index`. */
export const LINEAR_INPUTS = ['qkv', 'output', 'gateUp', 'down'] as const;
export type LinearInput = (typeof LINEAR_INPUTS)[number];

/**
 * What is done with an input of a linear layer on the f32 path. `record` keeps minimum and maximum of every channel and
 * chunk of 256 positions (position 0 is a chunk of its own, before the others). The others compute with what a
 * quantizer would make of it, codes up to ±limit: `fixed` has known steps
 * [chunks][inputs] (the last chunk serves all later ones) around a bias [inputs], `token` a step per token, `ratios`
 * steps [inputs] in known proportions around a bias, times the least factor per token that clips nothing, `window`
 * Tender's groups from the values of a whole chunk, which must lie in one step.
 */
export type InputRule =
  | { readonly kind: 'record' }
  | {
      readonly kind: 'fixed' | 'ratios';
      readonly limit: number;
      readonly steps: Float32Array;
      readonly bias: Float32Array;
    }
  | { readonly kind: 'token'; readonly limit: number }
  | { readonly kind: 'window'; readonly limit: number; readonly groups: number; readonly centred: boolean };

export interface StudiesInputs {
  /**
   * Sets the rule of input `4 · layer + index in LINEAR_INPUTS`, for calibration and evaluation; null: none. Throws
   * `native_invalid_argument` unless activations are f32 and no step is in flight.
   */
  studyInput(input: number, rule: InputRule | null): void;
  /** What `record` has seen since it was set: [chunks][2][inputs], minima (+infinity: no token) and maxima. */
  inputRanges(input: number): Float32Array;
}
