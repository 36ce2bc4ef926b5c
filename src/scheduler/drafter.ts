/**
 * Guesses how a sequence goes on. A guess costs a column in a step that reads all weights anyway, and a right one saves
 * a step; a wrong one changes nothing, because every token is sampled from its own logits. Pure, as all here.
 */
export interface Drafter {
  /** The sequence has these tokens now, `known` of them; those it had before are unchanged. */
  update(tokens: Int32Array, known: number): void;
  /** The guess at the token in place `i` behind the known ones. */
  token(i: number): number;
  /** How probably the guesses 0 … i are all right; falls with i, 0 where there is no guess. */
  likelihood(i: number): number;
}
