/** The modelled accelerators that are arrays: their own configurations, and what may be changed of them. */
import { type ArrayDesign, evaluateArray } from './array.js';
import { cellParameters } from './cells.js';
import { ELEMENT_HZ, type ElementName, element, elementGates, powerParameters } from './elements.js';
import { sramOf, sramParameters } from './sram.js';
import type { Accelerator, Changes, GemmShape, Parameter } from './types.js';

const authors = "MixPE authors' simulator (configurations)";
const derivedSource = 'counted cells (cells.ts, elements.ts)';

const published = (name: string, value: number, unit: string, source = authors): Parameter => {
  return { name, value, unit, source, kind: 'published' };
};

/** What all arrays have in common unless it is changed. */
export const commonParameters = {
  frequency: published('clock', ELEMENT_HZ, 'Hz'),
  weightBuffer: published('weight buffer', 131_072, 'bytes'),
  activationBuffer: published('activation buffer', 262_144, 'bytes'),
  outputBuffer: published('output buffer', 131_072, 'bytes'),
  memoryWidth: published('memory interface', 1024, 'bits per cycle'),
  memoryStatic: published('memory, standing by', 0.484615, 'W'),
  memoryEnergy: published(
    'LPDDR4',
    8,
    'pJ per bit',
    'Malladi et al., ISCA 2012, as cited in the CACTI plug-in of accelergy',
  ),
} as const;

type Own = {
  readonly name: string;
  readonly about: string;
  readonly element: ElementName;
  readonly rows: Parameter;
  readonly columns: Parameter;
  readonly weightBits: number;
  readonly activationBits: number;
  /** Bits of a weight with its share of scale and zero point; the weight's own if there are none. */
  readonly storedWeightBits?: number;
  readonly cacheBits?: number;
  readonly bubbles?: number;
  readonly isSkewed?: boolean;
  /** Part of the products that runs in 8 bits, and 8-bit products that come on top, as shares. */
  readonly wide?: { readonly share: Parameter; readonly extra: Parameter };
  readonly parameters?: readonly Parameter[];
};

/** Scales of 16 bits, and where codes are affine zero points of as many: per group of 128. */
const GROUPED = { symmetric: 16 / 128, affine: 32 / 128 } as const;

/** The design, with changes. */
function designOf(own: Own, changes: Changes = {}): ArrayDesign {
  const common = commonParameters;
  const memory = {
    bitsPerCycle: changes.memoryBitsPerCycle ?? common.memoryWidth.value,
    readPjPerBit: common.memoryEnergy.value,
    writePjPerBit: common.memoryEnergy.value,
    staticWatts: common.memoryStatic.value,
  };
  return {
    rows: changes.rows ?? own.rows.value,
    columns: changes.columns ?? own.columns.value,
    frequencyHz: changes.frequencyHz ?? common.frequency.value,
    element: element(own.element),
    weightBits: own.weightBits,
    storedWeightBits: own.storedWeightBits ?? own.weightBits,
    activationBits: own.activationBits,
    cacheBits: own.cacheBits ?? own.activationBits,
    outputBits: 16,
    bubbles: own.bubbles ?? 0,
    isSkewed: own.isSkewed ?? true,
    readsPerProduct: false,
    weights: sramOf(changes.weightBufferBytes ?? common.weightBuffer.value),
    activations: sramOf(changes.activationBufferBytes ?? common.activationBuffer.value),
    outputs: sramOf(changes.outputBufferBytes ?? common.outputBuffer.value),
    memory,
  };
}

function parametersOf(own: Own): readonly Parameter[] {
  const gates: Parameter = {
    ...{ name: 'element', value: elementGates[own.element], unit: 'NAND2' },
    ...{ source: derivedSource, kind: 'derived' },
  };
  return [
    ...[own.rows, own.columns, gates],
    ...(own.wide === undefined ? [] : [own.wide.share, own.wide.extra]),
    ...(own.parameters ?? []),
    ...Object.values(commonParameters),
    ...Object.values(powerParameters).flatMap((power) => Object.values(power)),
    ...Object.values(sramParameters).flat(),
    ...Object.values(cellParameters),
  ];
}

const wideBits = { weights: 8, activations: 8 } as const;

/** Products as the array runs them: some in 8 bits. Those on top are as tall and deep, and have fewer columns. */
function asRun(own: Own, layers: readonly GemmShape[]): readonly GemmShape[] {
  const { wide } = own;
  if (wide === undefined) return layers;
  return layers.flatMap((shape): GemmShape[] => {
    if (shape.operand === 'cache') return [shape];
    const { count, n } = shape;
    return [
      { ...shape, count: count * (1 - wide.share.value) },
      { ...shape, count: count * wide.share.value, bits: wideBits },
      { ...shape, n: Math.max(1, Math.round(n * wide.extra.value)), bits: wideBits },
    ];
  });
}

export function arrayAccelerator(own: Own): Accelerator {
  const { name, about, weightBits, activationBits } = own;
  return {
    ...{ name, about, weightBits, activationBits, parameters: parametersOf(own) },
    evaluate(layers, changes) {
      const macs = layers.reduce((sum, { m, k, n, count }) => sum + m * k * n * count, 0);
      return { ...evaluateArray(designOf(own, changes), asRun(own, layers)), macs };
    },
  };
}

const rows = (value: number, source?: string) => published('rows', value, 'elements', source);
const columns = (value: number, source?: string) => published('columns', value, 'elements', source);
const tenderSource = 'Tender, arXiv 2406.12930';

/** Elements that fit into the area of Tender's array, as a square. */
function equalArea(name: ElementName): Pick<Own, 'rows' | 'columns'> {
  const side = Math.floor(64 * Math.sqrt(elementGates.tender / elementGates[name]));
  const parameter = (of: string): Parameter => {
    const source = "as many as fit into the area of Tender's array, by counted cells";
    return { name: of, value: side, unit: 'elements', source, kind: 'derived' };
  };
  return { rows: parameter('rows'), columns: parameter('columns') };
}

const extra = published('8-bit products on top', 1 / 8, 'of the products');
const share = (value: number) => published('products in 8 bits', value, 'of the products');

/** Groups of channels that Tender has for OPT-6.7B in 4 bits: seven boundaries, a cycle lost at each. */
const tenderBubbles = published('bubbles of a fold', 7, 'cycles', `${tenderSource}: one per group boundary, 8 groups`);

export const arrayOwn = {
  fp16: {
    ...{ name: 'fp16', about: 'FP16 array: dequantizes weights, multiplies floats', element: 'fp16' },
    ...{ rows: rows(32), columns: columns(28) },
    ...{ weightBits: 16, activationBits: 16 },
  },
  int8: {
    ...{ name: 'int8', about: 'INT8 array', element: 'int8', rows: rows(32), columns: columns(32) },
    ...{ weightBits: 8, storedWeightBits: 8 + GROUPED.symmetric },
    activationBits: 8,
  },
  'mixpe-w4a8': {
    ...{ name: 'mixpe-w4a8', about: 'MixPE: shift-and-add, 4-bit weights, 8-bit activations', element: 'w4a8' },
    ...{ rows: rows(64), columns: columns(64) },
    ...{ weightBits: 4, storedWeightBits: 4 + GROUPED.affine, activationBits: 8 },
  },
  'mixpe-w4a16': {
    ...{ name: 'mixpe-w4a16', about: 'MixPE: shift-and-add, 4-bit weights, FP16 activations', element: 'w4a16' },
    ...{ rows: rows(32), columns: columns(32) },
    ...{ weightBits: 4, storedWeightBits: 4 + GROUPED.affine, activationBits: 16 },
  },
  bitfusion: {
    ...{ name: 'bitfusion', about: 'BitFusion: 8-bit elements that split into 4-bit ones', element: 'fused' },
    ...{ rows: rows(32), columns: columns(40) },
    ...{ weightBits: 8, activationBits: 8 },
  },
  ant: {
    ...{ name: 'ant', about: 'ANT: adaptive 4-bit types, 8 bits where they fail', element: 'ant' },
    ...{ ...equalArea('ant'), weightBits: 4, activationBits: 4 },
    wide: { share: share(6 / 32), extra },
  },
  olaccel: {
    ...{ name: 'olaccel', about: 'OLAccel: 4 bits, outliers apart in 16', element: 'olaccel' },
    ...{ ...equalArea('olaccel'), weightBits: 4, activationBits: 4 },
    wide: { share: share(0), extra },
  },
  olive: {
    ...{ name: 'olive', about: 'OliVe: 4 bits, outliers in the place of their neighbours', element: 'olive' },
    ...{ ...equalArea('olive'), weightBits: 4, activationBits: 4 },
  },
  tender: {
    ...{ name: 'tender', about: 'Tender: 4-bit array, groups of channels requantized by a one-bit shift' },
    ...{ element: 'tender', rows: rows(64, tenderSource), columns: columns(64, tenderSource) },
    ...{ weightBits: 4, activationBits: 4 },
    ...{ bubbles: tenderBubbles.value, parameters: [tenderBubbles] },
  },
  'lut-w2': {
    ...{ name: 'lut-w2', about: 'LUT Tensor Core: tables of four activations, a bit of 2-bit weights a cycle' },
    ...{ element: 'table', rows: rows(2 * 16, 'LUT Tensor Core, arXiv 2408.06003: 16 tiles of M2 N64 K4') },
    columns: columns(64, 'LUT Tensor Core, arXiv 2408.06003'),
    ...{ weightBits: 2, storedWeightBits: 2 + GROUPED.affine },
    ...{ activationBits: 8 },
  },
} as const satisfies Readonly<Record<string, Own>>;
