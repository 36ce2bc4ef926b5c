/** Which tokens of a text are scored, and how token losses become a perplexity. Pure. */

/**
 * `full`: every token but the first of a window, so that each window is scored on its own. `second-half`: llama.cpp's:
 * only targets window/2 … window − 1, which have at least half a window of context (255 of 512).
 */
export type Protocol = 'full' | 'second-half';
export const protocols: readonly Protocol[] = ['full', 'second-half'];

/** Non-overlapping windows; a last one that is short is dropped. */
export function windowsOf(tokens: Int32Array, windowTokens: number): Int32Array[] {
  return Array.from({ length: Math.floor(tokens.length / windowTokens) }, (_, i) =>
    tokens.subarray(i * windowTokens, (i + 1) * windowTokens),
  );
}

/**
 * The first position whose row of logits is scored (its target is the next token); the last is window − 2. llama.cpp's
 * `first = n_ctx/2` likewise scores rows first … n_ctx − 2, hence targets 257 … 511 of 512.
 */
export function firstScoredRow(windowTokens: number, protocol: Protocol): number {
  return protocol === 'full' ? 0 : Math.floor(windowTokens / 2);
}

export type Perplexity = { readonly perplexity: number; readonly standardError: number; readonly tokens: number };

/** Running mean and variance of token losses (Welford), in nats. */
export class LossMeter {
  #count = 0;
  #mean = 0;
  #squares = 0;

  add(loss: number): void {
    this.#count += 1;
    const delta = loss - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (loss - this.#mean);
  }

  /** exp(mean); the error is std/√n of the losses times the perplexity (first order, as the field states it). */
  result(): Perplexity {
    const perplexity = Math.exp(this.#mean);
    const variance = this.#count > 1 ? this.#squares / (this.#count - 1) : 0;
    return { perplexity, standardError: perplexity * Math.sqrt(variance / this.#count), tokens: this.#count };
  }
}
