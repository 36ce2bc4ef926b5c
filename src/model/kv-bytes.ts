/** Sizes of the KV cache; native/formats/kv_format.h lays it out. Pure. */
import { KV_BLOCK_TOKENS } from '../limits.js';
import type { KvFormat } from '../native/contract.js';
import type { ModelFile } from './types.js';

/** Bits of a key's and of a value's element. */
const bitsOf: Readonly<Record<KvFormat, readonly [keys: number, values: number]>> = {
  f16: [16, 16],
  kv8: [8, 8],
  k8v4: [8, 4],
  kv4: [4, 4],
};

/** Whole cache lines: what a block holds of one layer and KV head starts at one. */
const lines = (bytes: number): number => Math.ceil(bytes / 64) * 64;

/** Keys or values of a block, one layer and KV head. Below 16 bits a token has a scale and a minimum, f16 each. */
function partBytes(bits: number, elements: number): number {
  const grid = bits < 16 ? 2 * 2 : 0;
  return lines(KV_BLOCK_TOKENS * (grid + (elements * bits) / 8));
}

/** Bytes of the keys and values of one token in all layers. */
export function kvBytesPerToken(architecture: ModelFile['architecture'], kv: KvFormat): number {
  const { layers, kvHeads, headDim } = architecture;
  const [keys, values] = bitsOf[kv];
  // Four-bit values come in pairs of 16 dimensions.
  const valueElements = values === 4 ? Math.ceil(headDim / 32) * 32 : headDim;
  const headBytes = partBytes(keys, headDim) + partBytes(values, valueElements);
  return (layers * kvHeads * headBytes) / KV_BLOCK_TOKENS;
}
