/** What the stand-in for the addon answers: a hash of everything that a sequence has seen. */
import type { SamplingSpec } from '../../src/native/contract.js';

export function hashIds(ids: readonly number[], salt: number): number {
  let hash = (2166136261 ^ salt) >>> 0;
  for (const id of ids) hash = Math.imul(hash ^ (id + 1), 16777619) >>> 0;
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** What the fake reports as log-probability of `token` after `history`. */
export function fakeLogprob(history: readonly number[], token: number): number {
  return -(hashIds(history, token) % 4096) / 256;
}

export function fakeToken(history: readonly number[], sampling: SamplingSpec, vocab: number): number {
  const salt = sampling.temperature === 0 ? 0 : Number(sampling.seed & 0xffffn) * 131 + sampling.choice + 1;
  return hashIds(history, salt) % vocab;
}
