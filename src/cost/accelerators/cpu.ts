/** The CPU itself by its roofline: products take the longer of their arithmetic and of reading their operands once. */
import { horowitz45nm } from '../energy-table.js';
import type { Evaluation, GemmShape } from './types.js';

/** Measured, as `nibble bench roofline` does. */
export type CpuLimits = {
  readonly readBytesPerS: number;
  readonly int8MacsPerS: number;
  readonly fp32MacsPerS: number;
  /** Of the cores that work, and of all that stands by. */
  readonly watts: number;
};

export type CpuWidths = { readonly storedWeightBits: number; readonly cacheBits: number; readonly isFloat: boolean };

/**
 * What the limits allow: no CPU is faster. Weights are read once for all rows of a product; attention computes in
 * floats. There is no area: a CPU does more than this. Energy of operations by the table of 45 nm; the rest is `watts`.
 */
export function evaluateCpu(limits: CpuLimits, widths: CpuWidths, layers: readonly GemmShape[]): Evaluation {
  const { int8MacPj, fp32MacPj, memoryBytePj } = horowitz45nm;
  let [macs, seconds, macPj, bytes] = [0, 0, 0, 0];
  for (const { m, k, n, count, operand } of layers) {
    const isFloat = widths.isFloat || operand === 'cache';
    const own = m * k * n;
    const read = (k * n * (operand === 'cache' ? widths.cacheBits : widths.storedWeightBits)) / 8;
    const rate = isFloat ? limits.fp32MacsPerS : limits.int8MacsPerS;
    macs += count * own;
    seconds += count * Math.max(own / rate, read / limits.readBytesPerS);
    macPj += count * own * (isFloat ? fp32MacPj : int8MacPj);
    bytes += count * read;
  }
  const energy = { mac: macPj * 1e-12, sram: 0, dram: bytes * memoryBytePj * 1e-12, static: limits.watts * seconds };
  return { macs, cycles: Number.NaN, seconds, energy, areaMm2: Number.NaN };
}
