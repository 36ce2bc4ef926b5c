import type { ModelWork } from '../cost/step-work.js';
import { KV_BLOCK_TOKENS } from '../limits.js';
import type { ArchitectureSpec, LoadedModelInfo } from '../native/contract.js';

/**
 * What a loaded model does per token, row and position.
 * @param activations f32, or any of the integer formats
 * @param headBytes of the matrix that gives the logits, as packed
 */
export function modelWorkOf(
  info: LoadedModelInfo,
  { layers, heads, headDim }: ArchitectureSpec,
  activations: string,
  headBytes: number,
): ModelWork {
  const { linearMacsPerToken, headMacsPerRow, weightBytesPerToken } = info;
  const isInt8 = activations !== 'f32';
  return {
    layers,
    layerBytes: weightBytesPerToken - headBytes,
    headBytes,
    int8MacsPerToken: isInt8 ? linearMacsPerToken : 0,
    fp32MacsPerToken: isInt8 ? 0 : linearMacsPerToken,
    int8MacsPerRow: isInt8 ? headMacsPerRow : 0,
    fp32MacsPerRow: isInt8 ? 0 : headMacsPerRow,
    macsPerPosition: 2 * layers * heads * headDim,
    kvBytesPerPosition: info.kvBlockBytes / KV_BLOCK_TOKENS,
  };
}
