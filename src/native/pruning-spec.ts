/**
 * How a prompt loses tokens on its way through the layers (docs/arithmetic.md, "Methods"). A step never cuts a window,
 * and wants rows only of what is behind the windows. Later stages use a window's first blocks.
 */
export type PruningSpec = {
  /** Whole windows of 256 tokens at the prompt's start that lose tokens. */
  readonly windows: number;
  /** [≤ 4] Behind how many layers, ascending from 1; how many tokens of a window stay: multiples of 16, descending. */
  readonly layers: Int32Array;
  readonly tokens: Int32Array;
  /** By chance, not by importance: for evaluations. */
  readonly isRandom: boolean;
};
