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

/** KL(p‖q) in nats of the distributions that two rows of logits stand for; rounding below 0 counts as 0. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const pNorm = logSumExp(p);
  const qNorm = logSumExp(q);
  let sum = 0;
  for (let id = 0; id < p.length; ++id) {
    const pLog = (p[id] ?? 0) - pNorm;
    const weight = Math.exp(pLog);
    if (weight > 0) sum += weight * (pLog - ((q[id] ?? 0) - qNorm));
  }
  return Math.max(0, sum);
}
