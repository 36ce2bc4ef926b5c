/**
 * Areas of processing elements by counting standard cells: what is published of them is partial, and of different
 * technologies. Counted are registers, the multiplier as an array of full adders, shifters and the accumulator; neither
 * wires nor control. Areas of cells are those of the NanGate FreePDK45 Open Cell Library (drive strength X1, typical),
 * in units of its smallest NAND gate.
 */
import type { Parameter } from './types.js';

const NAND_UM2_45NM = 0.798;
const source = 'NanGate FreePDK45 Open Cell Library, X1, ÷ NAND2_X1 (0.798 µm²)';
const cell = (name: string, um2: number): Parameter => {
  return { name, value: um2 / NAND_UM2_45NM, unit: 'NAND2', source, kind: 'published' };
};

export const cellParameters = {
  register: cell('flip-flop (DFF_X1)', 4.522),
  fullAdder: cell('full adder (FA_X1)', 4.256),
  halfAdder: cell('half adder (HA_X1)', 2.66),
  and: cell('AND (AND2_X1)', 1.064),
  multiplexer: cell('multiplexer (MUX2_X1)', 1.862),
} as const;

const { register, fullAdder, halfAdder, and, multiplexer } = cellParameters;

/** Area shrinks with the square of the feature size. */
export const NAND_UM2_28NM = NAND_UM2_45NM * (28 / 45) ** 2;

export const registers = (bits: number): number => bits * register.value;
export const adder = (bits: number): number => bits * fullAdder.value;

/** An array multiplier: a row of AND gates for each bit of one operand, and rows of adders between them. */
export function multiplier(a: number, b: number): number {
  return a * b * and.value + (b - 1) * (a - 1) * fullAdder.value + (b - 1) * halfAdder.value;
}

/** Shifts `bits` bits by any distance up to `distance`, a row of multiplexers for each bit of the distance. */
export function shifter(bits: number, distance: number): number {
  return bits * Math.ceil(Math.log2(distance + 1)) * multiplexer.value;
}

/** Shifts left by up to 2^stages − 1 without losing bits: each row is as wide as what can leave it, 32 bits at most. */
export function wideningShifter(bits: number, stages: number): number {
  const widths = Array.from({ length: stages }, (_, stage) => Math.min(32, bits + 2 ** (stage + 1) - 1));
  return widths.reduce((sum, width) => sum + width, 0) * multiplexer.value;
}

/** An integer element that keeps its output: operands registered as they pass, product, accumulator. */
export function integerElement(activationBits: number, weightBits: number, accumulatorBits: number): number {
  return (
    registers(activationBits + weightBits + accumulatorBits) +
    multiplier(activationBits, weightBits) +
    adder(accumulatorBits)
  );
}

const FP16 = { exponent: 5, significand: 11 } as const;
/** Width in which significands are aligned, added and normalized. */
const ALIGNED_BITS = 24;

/** An FP16 element with an FP32 accumulator; the weight is FP16 too, or an integer of `weightBits`. */
export function floatElement(weightBits: number | 'fp16'): number {
  const width = weightBits === 'fp16' ? FP16.significand : weightBits;
  const storedBits = weightBits === 'fp16' ? 16 : weightBits;
  const exponents = adder(weightBits === 'fp16' ? 2 * FP16.exponent + 1 : FP16.exponent + 1);
  const align = shifter(ALIGNED_BITS, ALIGNED_BITS) + shifter(ALIGNED_BITS, ALIGNED_BITS);
  return (
    registers(16 + storedBits + 32) + multiplier(FP16.significand, width) + exponents + align + adder(ALIGNED_BITS)
  );
}
