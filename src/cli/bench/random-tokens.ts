import { Random } from '../../random.js';

/** Token ids in [0, vocab) from a seed: the same prompt for every engine and run. */
export function randomTokens(count: number, vocab: number, seed: number): Int32Array {
  const random = new Random(seed);
  return Int32Array.from({ length: count }, () => random.u32() % vocab);
}
