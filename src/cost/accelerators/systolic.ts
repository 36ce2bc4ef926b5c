/** Cycles of a matrix product on a systolic array, as SCALE-Sim counts them (Samajdar et al., ISPASS 2020). */

/** Y[m, n] = X[m, k] · W[k, n]. */
export type Gemm = { readonly m: number; readonly k: number; readonly n: number };

/** What stays in the array: outputs, weights or inputs. */
export type Dataflow = 'output-stationary' | 'weight-stationary' | 'input-stationary';

export type SystolicArray = { readonly rows: number; readonly columns: number; readonly dataflow: Dataflow };

/** Which extents of a product lie along rows and columns of the array, and which one streams through it. */
function mapping({ m, k, n }: Gemm, dataflow: Dataflow): { along: readonly [number, number]; stream: number } {
  switch (dataflow) {
    case 'output-stationary':
      return { along: [m, n], stream: k };
    case 'weight-stationary':
      return { along: [k, n], stream: m };
    case 'input-stationary':
      return { along: [k, m], stream: n };
  }
}

/**
 * Cycles until the last output is there, memory never being waited for. A fold fills the array once: its operands enter
 * skewed, so that the far corner starts rows + columns − 2 cycles late; what stays in the array is loaded beforehand,
 * row by row, but for outputs. Folds at an edge take as long as full ones.
 */
export function systolicCycles(gemm: Gemm, { rows, columns, dataflow }: SystolicArray): number {
  const { along, stream } = mapping(gemm, dataflow);
  const folds = Math.ceil(along[0] / rows) * Math.ceil(along[1] / columns);
  const load = dataflow === 'output-stationary' ? 0 : rows;
  // Counted from the first cycle, which is 0.
  return folds * (load + stream + rows + columns - 2) - 1;
}

/** Share of the multipliers' cycles that do work. */
export function systolicUtilization(gemm: Gemm, array: SystolicArray): number {
  return (gemm.m * gemm.k * gemm.n) / (array.rows * array.columns * (systolicCycles(gemm, array) + 1));
}
