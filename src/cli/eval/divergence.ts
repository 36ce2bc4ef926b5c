/** Comparison of two models' predictions, from raw logits. Pure. */

/** ln Σ exp(x) of one row. */
export function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > max) max = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - max);
  return max + Math.log(sum);
}

/** The most likely token; ties go to the lower id. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  let max = logits[0] ?? Number.NEGATIVE_INFINITY;
  for (let id = 1; id < logits.length; ++id) {
    const value = logits[id] ?? Number.NEGATIVE_INFINITY;
    if (value > max) {
      max = value;
      best = id;
    }
  }
  return best;
}

/** The distribution of one row of logits, worked out once and then compared with any number of others. */
export class ReferenceRow {
  readonly #logprobs: Float64Array;
  readonly #weights: Float64Array;

  /** Holds rows of `vocab` logits, one at a time. */
  constructor(vocab: number) {
    this.#logprobs = new Float64Array(vocab);
    this.#weights = new Float64Array(vocab);
  }

  set(logits: Float32Array): this {
    const norm = logSumExp(logits);
    for (let id = 0; id < logits.length; ++id) {
      const logprob = (logits[id] ?? 0) - norm;
      this.#logprobs[id] = logprob;
      this.#weights[id] = Math.exp(logprob);
    }
    return this;
  }

  /** KL(this‖q) in nats, q given by its logits; rounding below 0 counts as 0. */
  divergence(q: Float32Array): number {
    const qNorm = logSumExp(q);
    let sum = 0;
    for (let id = 0; id < q.length; ++id) {
      const weight = this.#weights[id] ?? 0;
      if (weight > 0) sum += weight * ((this.#logprobs[id] ?? 0) - ((q[id] ?? 0) - qNorm));
    }
    return Math.max(0, sum);
  }
}
