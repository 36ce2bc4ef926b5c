import type { ModelFile } from '../../model/types.js';
import { LINEAR_INPUTS, type LinearInput } from '../../native/input-study.js';
import { loadAddon } from '../../native/load.js';

/** Names of the matrices that read an input, within their layer. */
export const matricesOf: Readonly<Record<LinearInput, readonly string[]>> = {
  qkv: ['attn_q', 'attn_k', 'attn_v'],
  output: ['attn_output'],
  gateUp: ['ffn_gate', 'ffn_up'],
  down: ['ffn_down'],
};

/** Largest magnitude of each column of the weights, over all matrices that read an input; one array per input. */
export function weightPeaks({ path, architecture, tensors }: ModelFile): readonly Float32Array[] {
  const addon = loadAddon();
  return Array.from({ length: architecture.layers }, (_, layer) =>
    LINEAR_INPUTS.map((input) => {
      const names = matricesOf[input].map((name) => `blk.${layer}.${name}.weight`);
      const matrices = tensors.filter(({ name }) => names.includes(name));
      const peaks = new Float32Array(matrices[0]?.shape[0] ?? 0);
      for (const matrix of matrices) {
        addon.dequantize(path, matrix).forEach((value, i) => {
          const column = i % peaks.length;
          peaks[column] = Math.max(peaks[column] ?? 0, Math.abs(value));
        });
      }
      return peaks;
    }),
  ).flat();
}
