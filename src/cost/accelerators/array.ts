/**
 * An output-stationary array of processing elements with three double-buffered on-chip memories: the model that all
 * arrays here share.
 *
 * A fold computes rows × columns outputs, in k cycles if an element does one product in a cycle. While it runs,
 * operands of the next come from memory, so a product takes the longer of computing and of moving its bytes. Which
 * bytes move depends on what stays on chip: rows of activations, columns of weights, or outputs while k streams by;
 * whatever moves least is taken.
 */
import type { Sram } from './sram.js';
import type { Evaluation, GemmShape } from './types.js';

export type Element = {
  /** Operands of one product, and widths down to which several products share an element. */
  readonly weightBits: number;
  readonly activationBits: number;
  readonly leastWeightBits: number;
  readonly leastActivationBits: number;
  /** Products along k that an element adds up in a cycle. */
  readonly productsPerCycle: number;
  /** In a cycle that computes, picojoules. */
  readonly dynamicPj: number;
  readonly leakageWatts: number;
  readonly areaMm2: number;
};

export type Memory = {
  readonly bitsPerCycle: number;
  readonly readPjPerBit: number;
  readonly writePjPerBit: number;
  readonly staticWatts: number;
};

export type ArrayDesign = {
  readonly rows: number;
  readonly columns: number;
  readonly frequencyHz: number;
  readonly element: Element;
  /** Widths of the operands of a product with weights, as computed and as stored (with scales). */
  readonly weightBits: number;
  readonly storedWeightBits: number;
  readonly activationBits: number;
  /** Of a product with keys or values. */
  readonly cacheBits: number;
  readonly outputBits: number;
  /** Cycles lost in each fold, between groups of channels. */
  readonly bubbles: number;
  /** Whether operands enter skewed, so that the far corner starts rows + columns − 2 cycles late. */
  readonly isSkewed: boolean;
  /** Whether each product reads both operands from on-chip memory, or each fold once along the array's edges. */
  readonly readsPerProduct: boolean;
  readonly weights: Sram;
  readonly activations: Sram;
  readonly outputs: Sram;
  readonly memory: Memory;
};

type Bits = { readonly weights: number; readonly stored: number; readonly activations: number };

function bitsOf(shape: GemmShape, design: ArrayDesign): Bits {
  const { bits, operand } = shape;
  if (bits !== undefined)
    return { weights: bits.weights, stored: bits.stored ?? bits.weights, activations: bits.activations };
  if (operand === 'cache') {
    return { weights: design.cacheBits, stored: design.cacheBits, activations: design.activationBits };
  }
  return { weights: design.weightBits, stored: design.storedWeightBits, activations: design.activationBits };
}

/** Outputs along one side of the array; wide operands take several elements, narrow ones share one. */
function along(elements: number, elementBits: number, bits: number, leastBits: number): number {
  return Math.max(1, Math.floor((elements * elementBits) / Math.max(bits, leastBits)));
}

/** Bits that one product moves to and from memory, by what stays on chip; half of each buffer is being filled. */
export function movedBits(
  shape: GemmShape,
  bits: Bits,
  design: ArrayDesign,
): { readonly read: number; readonly written: number } {
  const { m, k, n } = shape;
  const half = ({ bytes }: Sram) => bytes * 4;
  const [a, w] = [m * k * bits.activations, k * n * bits.stored];
  const outputs = half(design.outputs) / design.outputBits;
  const byOutputs = (rows: number): number => {
    const columns = Math.min(n, Math.max(1, Math.floor(outputs / rows)));
    return a * Math.ceil(n / columns) + w * Math.ceil(m / rows);
  };
  const rows = Math.floor(half(design.activations) / (k * bits.activations));
  const columns = Math.floor(half(design.weights) / (k * bits.stored));
  const square = Math.max(1, Math.floor(Math.sqrt(outputs)));
  const read = Math.min(
    byOutputs(Math.min(m, Math.max(1, Math.floor(outputs)))),
    byOutputs(Math.min(m, square)),
    byOutputs(1),
    rows > 0 ? a + w * Math.ceil(m / rows) : Number.POSITIVE_INFINITY,
    columns > 0 ? w + a * Math.ceil(n / columns) : Number.POSITIVE_INFINITY,
  );
  return { read, written: m * n * design.outputBits };
}

/** Area of the array and its buffers. */
function arrayArea({ rows, columns, element, weights, activations, outputs }: ArrayDesign): number {
  return rows * columns * element.areaMm2 + weights.areaMm2 + activations.areaMm2 + outputs.areaMm2;
}

/** Runs the products one after the other. */
export function evaluateArray(design: ArrayDesign, layers: readonly GemmShape[]): Evaluation {
  const { rows, columns, element, memory, weights, activations, outputs } = design;
  let [macs, cycles, computing, readBits, writtenBits, sramPj] = [0, 0, 0, 0, 0, 0];
  for (const shape of layers) {
    const { m, k, n, count } = shape;
    const bits = bitsOf(shape, design);
    const tall = along(rows, element.activationBits, bits.activations, element.leastActivationBits);
    const wide = along(columns, element.weightBits, bits.weights, element.leastWeightBits);
    const [downs, acrosses] = [Math.ceil(m / tall), Math.ceil(n / wide)];
    const skew = design.isSkewed ? rows + columns - 2 : 0;
    const compute = downs * acrosses * (Math.ceil(k / element.productsPerCycle) + design.bubbles + skew);
    const moved = movedBits(shape, bits, design);
    macs += count * m * k * n;
    computing += count * compute;
    cycles += count * Math.max(compute, (moved.read + moved.written) / memory.bitsPerCycle);
    readBits += count * moved.read;
    writtenBits += count * moved.written;
    // What comes from memory is written once on chip; the rest is counted as it is used.
    const uses = design.readsPerProduct ? { a: n, w: m } : { a: acrosses, w: downs };
    const filled = moved.read / (m * k * bits.activations + k * n * bits.stored);
    sramPj +=
      count * m * k * bits.activations * (uses.a * activations.readPjPerBit + filled * activations.writePjPerBit) +
      count * k * n * bits.stored * (uses.w * weights.readPjPerBit + filled * weights.writePjPerBit) +
      count * moved.written * (outputs.readPjPerBit + outputs.writePjPerBit);
  }
  const seconds = cycles / design.frequencyHz;
  const leakage = weights.leakageWatts + activations.leakageWatts + outputs.leakageWatts;
  const watts = rows * columns * element.leakageWatts + leakage + memory.staticWatts;
  const energy = {
    mac: computing * rows * columns * element.dynamicPj * 1e-12,
    sram: sramPj * 1e-12,
    dram: (readBits * memory.readPjPerBit + writtenBits * memory.writePjPerBit) * 1e-12,
    static: watts * seconds,
  };
  return { macs, cycles, seconds, energy, areaMm2: arrayArea(design) };
}
