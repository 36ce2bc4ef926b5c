/** Processing elements of the modelled arrays: operands, area by counted cells, energy in proportion to it. */
import type { Element } from './array.js';
import {
  adder,
  cellParameters,
  floatElement,
  integerElement,
  multiplier,
  NAND_UM2_28NM,
  registers,
  shifter,
  wideningShifter,
} from './cells.js';
import type { Parameter } from './types.js';

const authors = "MixPE authors' simulator (systolic_array_synth.csv, 28 nm, 500 MHz)";
const power = (name: string, value: number): Parameter => {
  return { name, value, unit: 'nW', source: authors, kind: 'published' };
};

/** What an element draws at 500 MHz, by the widths of its operands. */
export const powerParameters = {
  w4a8: { dynamic: power('8/4 element, dynamic', 279_960), leakage: power('8/4 element, leakage', 64_314) },
  w4a16: { dynamic: power('16/8 element, dynamic', 544_982), leakage: power('16/8 element, leakage', 128_458) },
  fp16: { dynamic: power('16/16 element, dynamic', 839_982), leakage: power('16/16 element, leakage', 192_942) },
} as const;

export const ELEMENT_HZ = 500e6;
/** nW ÷ Hz is nJ per cycle. */
export const picojoules = ({ value }: Parameter): number => (value / ELEMENT_HZ) * 1e3;

/** Sums of a group of 128 products of 8 and 4 bits fit (19 bits and one to spare); whole rows take 32. */
const GROUP_BITS = 20;
const ROW_BITS = 32;
/** ANT's flint and OliVe's abfloat are decoded to an integer and an exponent. */
const FLINT = { integer: 4, exponent: 3 } as const;
const ABFLOAT = { integer: 4, exponent: 4 } as const;

/** An element whose operands are integers with exponents: the product is shifted by their sum. */
function scaledElement({ integer, exponent }: { readonly integer: number; readonly exponent: number }): number {
  const stored = registers(2 * (integer + exponent) + ROW_BITS);
  const arithmetic = multiplier(integer, integer) + adder(exponent + 1) + adder(ROW_BITS);
  return stored + arithmetic + wideningShifter(2 * integer, exponent + 1);
}

/** Sixteen elements with a seventeenth for outliers (OLAccel, ISCA 2018); per six such groups one of 16-bit inputs. */
const outlierElement = (): number => (17 * (6 * integerElement(4, 4, ROW_BITS) + integerElement(16, 4, 40))) / (16 * 6);

/** Activations that a table has all sums of. */
const TABLE_DEPTH = 4;

/** A sum of four activations, chosen by four one-bit weights: half a table, of 8 entries, shared by 64 columns. */
function tableElement(): number {
  const table = { entries: 8, bits: 8, columns: 64, sumBits: 24 } as const;
  const choose = (table.entries - 1) * table.bits * cellParameters.multiplexer.value;
  const shared = registers(table.entries * table.bits) / table.columns;
  const negate = table.bits * cellParameters.halfAdder.value;
  return registers(TABLE_DEPTH + table.sumBits) + shared + choose + negate + adder(table.sumBits);
}

/** Area of each element in NAND gates. */
export const elementGates = {
  fp16: floatElement('fp16'),
  w4a16: floatElement(4),
  int8: integerElement(8, 8, ROW_BITS),
  w4a8: integerElement(8, 4, GROUP_BITS),
  int4: integerElement(4, 4, GROUP_BITS),
  /** A row's accumulator, and a multiplexer for each of its bits: the one-bit shifter. */
  tender: integerElement(4, 4, ROW_BITS) + shifter(ROW_BITS, 1),
  /** Four 4-bit elements, each with a sum of its own, and shifts and adders that join them to one of 8 bits. */
  fused: 4 * integerElement(4, 4, GROUP_BITS) + 3 * (adder(12) + shifter(12, 1)),
  ant: scaledElement(FLINT),
  olive: scaledElement(ABFLOAT),
  olaccel: outlierElement(),
  table: tableElement(),
} as const;

export type ElementName = keyof typeof elementGates;

/** Widths of an element's operands; it splits for narrower ones down to `least`. */
type Widths = { readonly weights: number; readonly activations: number; readonly least?: number };

const widths: Readonly<Record<ElementName, Widths>> = {
  fp16: { weights: 16, activations: 16 },
  w4a16: { weights: 4, activations: 16 },
  int8: { weights: 8, activations: 8 },
  w4a8: { weights: 4, activations: 8 },
  int4: { weights: 4, activations: 4 },
  tender: { weights: 4, activations: 4 },
  fused: { weights: 8, activations: 8, least: 4 },
  ant: { weights: 4, activations: 4 },
  olive: { weights: 4, activations: 4 },
  olaccel: { weights: 4, activations: 4 },
  // Bit-serial: what has b bits takes b of them.
  table: { weights: 1, activations: 8 },
};

/** An element of counted area; what no synthesis is published of draws power as a W4A8 element per gate does. */
export function element(name: ElementName): Element {
  const gates = elementGates[name];
  const known = name === 'fp16' || name === 'w4a16' || name === 'w4a8' ? powerParameters[name] : null;
  const scale = known === null ? gates / elementGates.w4a8 : 1;
  const { dynamic, leakage } = known ?? powerParameters.w4a8;
  const { weights, activations, least } = widths[name];
  return {
    ...{ weightBits: weights, activationBits: activations },
    ...{ leastWeightBits: least ?? weights, leastActivationBits: least ?? activations },
    productsPerCycle: name === 'table' ? TABLE_DEPTH : 1,
    dynamicPj: scale * picojoules(dynamic),
    leakageWatts: scale * leakage.value * 1e-9,
    areaMm2: gates * NAND_UM2_28NM * 1e-6,
  };
}
