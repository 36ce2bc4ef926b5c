/** What every model of an accelerator takes and gives. All figures are simulated: nothing here was ever measured. */

/** Where a number comes from; a fitted one was chosen so that others agree, and says which. */
export type Parameter = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly source: string;
  readonly kind: 'published' | 'derived' | 'fitted';
};

/** `count` products Y[m, n] = X[m, k] · W[k, n]. */
export type GemmShape = {
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly count: number;
  /** Where the second operand comes from: the model, or keys and values of the sequence itself. */
  readonly operand: 'weights' | 'cache';
  /** Widths of this product where they aren't those of the accelerator; `stored` with scales. */
  readonly bits?: { readonly weights: number; readonly activations: number; readonly stored?: number };
};

/** Joules by part. */
export type Energy = {
  readonly mac: number;
  readonly sram: number;
  readonly dram: number;
  readonly static: number;
};

export type Evaluation = {
  readonly macs: number;
  readonly cycles: number;
  readonly seconds: number;
  readonly energy: Energy;
  /** Arithmetic and on-chip memory. */
  readonly areaMm2: number;
};

/** What may differ from an accelerator's own configuration. */
export type Changes = {
  readonly rows?: number;
  readonly columns?: number;
  readonly weightBufferBytes?: number;
  readonly activationBufferBytes?: number;
  readonly outputBufferBytes?: number;
  readonly memoryBitsPerCycle?: number;
  readonly frequencyHz?: number;
};

export type Accelerator = {
  readonly name: string;
  readonly about: string;
  /** Widths of the operands of a product with weights. */
  readonly weightBits: number;
  readonly activationBits: number;
  readonly parameters: readonly Parameter[];
  evaluate(layers: readonly GemmShape[], changes?: Changes): Evaluation;
};

export const joulesOf = ({ mac, sram, dram, static: idle }: Energy): number => mac + sram + dram + idle;

/** Multiply-accumulates per second, per watt (that is, per joule) and per mm² of a second. */
export function throughputOf({ macs, seconds, energy, areaMm2 }: Evaluation): {
  readonly macsPerSecond: number;
  readonly macsPerJoule: number;
  readonly macsPerSecondMm2: number;
} {
  const macsPerSecond = macs / seconds;
  return { macsPerSecond, macsPerJoule: macs / joulesOf(energy), macsPerSecondMm2: macsPerSecond / areaMm2 };
}
