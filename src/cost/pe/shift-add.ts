/**
 * The processing element of MixPE (arXiv 2411.16158), bit by bit: a weight code gates shifted copies of the activation,
 * which are added up; a group is corrected by its zero point once, behind its last product, and only then scaled. A
 * model of hardware: on a CPU shifting and adding is slower than its multiplier.
 *
 *   x·w = −(x ≪ 3)·b₃ + (x ≪ 2)·b₂ + (x ≪ 1)·b₁ + x·b₀      signed codes; of unsigned ones b₃ counts positively too
 *   y   = s_x · s_w · (Σ x·q − z · Σ x)                        Σ x is shared by all outputs that read the group
 */

/** `weightBits` of 8 is the multiplier of an INT8 design, an array of eight gated copies: for comparison. */
export type PeDesign = {
  readonly weightBits: 4 | 8;
  readonly activationBits: 8 | 16;
  /** Whether codes are two's complement, with the zero point 0, or unsigned with one. */
  readonly hasSignedCodes: boolean;
};

/** What an element did; switched bits are Hamming distances between successive contents of its registers. */
export type PeCounts = {
  readonly macs: number;
  /** Copies of an operand that were shifted by one bit or more. */
  readonly shifts: number;
  /** Additions and subtractions: one for each bit that is set in a code. */
  readonly adds: number;
  readonly switchedBits: number;
};

/** The operand times the code, by shifts and adds of int32; exact while the product fits. */
export function multiplyByShifts(design: PeDesign, operand: number, code: number): number {
  const top = design.weightBits - 1;
  let sum = 0;
  for (let bit = 0; bit <= top; ++bit) {
    if (((code >> bit) & 1) === 0) continue;
    const term = operand << bit;
    sum = (bit === top && design.hasSignedCodes ? sum - term : sum + term) | 0;
  }
  return sum;
}

/** The code's value: of 4 signed bits, 15 is −1. */
export function codeValue({ weightBits, hasSignedCodes }: PeDesign, code: number): number {
  return hasSignedCodes && code >= 1 << (weightBits - 1) ? code - (1 << weightBits) : code;
}

/** Width of an accumulator that no group of `group` products can overflow, bits with the sign. */
export function accumulatorBits({ weightBits, activationBits, hasSignedCodes }: PeDesign, group: number): number {
  const lowest = -(2 ** (activationBits - 1));
  const codes = hasSignedCodes ? [-(2 ** (weightBits - 1)), 2 ** (weightBits - 1) - 1] : [0, 2 ** weightBits - 1];
  const products = codes.flatMap((code) => [code * lowest, code * (-lowest - 1)]);
  const min = group * Math.min(...products);
  const max = group * Math.max(...products);
  let bits = 1;
  while (min < -(2 ** (bits - 1)) || max > 2 ** (bits - 1) - 1) ++bits;
  return bits;
}

function bitCount(value: number): number {
  let v = value - ((value >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return (((v + (v >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}

/** A register of some bits that knows how many of them have switched. */
class Register {
  value = 0;
  switchedBits = 0;
  readonly #mask: number;

  constructor(bits: number) {
    this.#mask = bits >= 32 ? -1 : (1 << bits) - 1;
  }

  set(value: number): void {
    this.switchedBits += bitCount((this.value ^ value) & this.#mask);
    this.value = value;
  }
}

/** One element: a product each cycle, a group's result at the end of it. */
export class ShiftAddElement {
  readonly #design: PeDesign;
  readonly #operand: Register;
  readonly #code: Register;
  readonly #terms: readonly Register[];
  readonly #product: Register;
  readonly #accumulator: Register;
  #macs = 0;
  #shifts = 0;
  #adds = 0;

  /** @param groupMax products of the longest group; with its accumulator wider than 32 bits it is a RangeError */
  constructor(design: PeDesign, groupMax: number) {
    const width = accumulatorBits(design, groupMax);
    if (width > 32) throw new RangeError(`groups of ${groupMax} need an accumulator of ${width} bits`);
    const { activationBits, weightBits } = design;
    this.#design = design;
    this.#operand = new Register(activationBits);
    this.#code = new Register(weightBits);
    this.#terms = Array.from({ length: weightBits }, (_, bit) => new Register(activationBits + bit));
    this.#product = new Register(activationBits + weightBits);
    this.#accumulator = new Register(width);
  }

  /** Adds x·w. @param code the weight's bits, [0, 2^weightBits) */
  accumulate(x: number, code: number): void {
    this.#operand.set(x);
    this.#code.set(code);
    for (const [bit, term] of this.#terms.entries()) term.set(((code >> bit) & 1) === 0 ? 0 : x << bit);
    const product = multiplyByShifts(this.#design, x, code);
    this.#product.set(product);
    this.#accumulator.set((this.#accumulator.value + product) | 0);
    this.#macs += 1;
    this.#count(code);
  }

  /**
   * Ends a group: Σ x·q − z·Σ x, exactly, for one multiplication by s_x·s_w. The correction is shifts and adds as well.
   * @param sum Σ x of the group, which the array computes once for all its columns
   */
  endGroup(zeroPoint: number, sum: number): number {
    const unsigned = { ...this.#design, hasSignedCodes: false };
    const result = this.#accumulator.value - multiplyByShifts(unsigned, sum, zeroPoint);
    this.#count(zeroPoint);
    this.#accumulator.set(0);
    return result;
  }

  get counts(): PeCounts {
    const registers = [this.#operand, this.#code, ...this.#terms, this.#product, this.#accumulator];
    const switchedBits = registers.reduce((total, register) => total + register.switchedBits, 0);
    return { macs: this.#macs, shifts: this.#shifts, adds: this.#adds, switchedBits };
  }

  #count(code: number): void {
    this.#adds += bitCount(code);
    this.#shifts += bitCount(code >> 1);
  }
}
