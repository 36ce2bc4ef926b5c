/** What the addon measures of single kernels and of the machine, and is told by that: a part of the contract. */
import type { IsaLevel } from './contract.js';

export type RooflineRun = {
  readonly isa: IsaLevel;
  readonly threads: number;
  readonly readGBs: number;
  readonly int8GMacs: number;
  readonly fp32GMacs: number;
};

export type KernelRunRequest = {
  readonly isa: IsaLevel;
  readonly op: 'gemv' | 'gemm';
  /** A name from `kernelFamilies()`. */
  readonly family: string;
  /** Tokens, output features, input features. */
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly threads: number;
  readonly seed: number;
  /** Time to measure for, ms; 0 = only check against the reference. */
  readonly milliseconds: number;
};

export type KernelRun = {
  /** Level that ran, from the kernel's own counter. */
  readonly isa: IsaLevel;
  /** Bit-equal to the scalar reference. */
  readonly equal: boolean;
  readonly gMacs: number;
  readonly weightGBs: number;
  readonly weightBytes: number;
  readonly macs: number;
};

/**
 * Up to how many tokens of a step (0–16) matrices of bit planes are looked up rather than multiplied, by the bits of
 * their weights. Results are the same.
 */
export type LookupTokens = { readonly w1: number; readonly w2: number; readonly w3: number; readonly w4: number };
