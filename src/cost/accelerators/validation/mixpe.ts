/**
 * MixPE's table of normalised times and energies (arXiv 2411.16158 and the authors' simulator), by the array model with
 * their configurations.
 *
 * Three things of theirs have to be taken as they are. (1) A product with 4-bit weights counts as one of 4-bit
 * activations too: an element does four of them in a cycle, though activations have 8 bits ("both narrow"). (2) Designs
 * that dequantize first do 1/8 of each product once more in the wide format, MixPE 1/1024. (3) Every product reads both
 * operands from on-chip memory. Other readings of (1): `weights`, only weights are narrow and an element does two
 * products in a cycle; `none`, it does one, as the circuit of a shift-and-add element does.
 *
 * `int8-area` and `fp16-area` are not theirs: as large as the MixPE array beside them by counted cells, which the
 * 32 × 32 and 32 × 28 of the table are not; their elements draw power by what was counted or synthesized.
 */
import { type ArrayDesign, type Element, evaluateArray } from '../array.js';
import { commonParameters } from '../designs.js';
import { element, elementGates, picojoules, powerParameters } from '../elements.js';
import { sramOf } from '../sram.js';
import { type Energy, type GemmShape, joulesOf } from '../types.js';
import type { Check } from './types.js';

export type MixpeDesign =
  | 'mixpe-w4a8'
  | 'ant'
  | 'bitfusion'
  | 'int8'
  | 'mixpe-w4a16'
  | 'fp16'
  | 'int8-area'
  | 'fp16-area';
export type MixpeModel = 'vit' | 'vit-huge' | 'opt-6.7b' | 'llama-2-13b';
export type Reading = 'both' | 'weights' | 'none';

const BATCH = 64;

/** Width, layers and patch embedding (16 × 16 pixels, 14 × 14 patches); all have two feed-forward matrices there. */
const models: Readonly<Record<MixpeModel, { readonly hidden: number; readonly layers: number; patches: boolean }>> = {
  vit: { hidden: 768, layers: 12, patches: true },
  'vit-huge': { hidden: 1280, layers: 32, patches: true },
  'opt-6.7b': { hidden: 4096, layers: 32, patches: false },
  'llama-2-13b': { hidden: 5120, layers: 40, patches: false },
};

type Configuration = {
  readonly rows: number;
  readonly columns: number;
  /** Widest and narrowest operand. */
  readonly high: 8 | 16;
  readonly low: 4 | 8 | 16;
  /** Of counted cells, instead of a published power by the widths. */
  readonly counted?: 'int8' | 'fp16';
  /** Layers of each model in the wide format, where a part is. */
  readonly wideLayers?: Readonly<Record<MixpeModel, number>>;
};

/** A square of elements that is as large as `count` of another kind. */
function equalArea(name: 'int8' | 'fp16', beside: 'w4a8' | 'w4a16', count: number) {
  const side = Math.floor(Math.sqrt((count * elementGates[beside]) / elementGates[name]));
  return { rows: side, columns: side, counted: name };
}

const configurations: Readonly<Record<MixpeDesign, Configuration>> = {
  'mixpe-w4a8': { rows: 64, columns: 64, high: 8, low: 4 },
  ant: {
    ...{ rows: 32, columns: 32, high: 8, low: 4 },
    wideLayers: { vit: 2, 'vit-huge': 6, 'opt-6.7b': 6, 'llama-2-13b': 8 },
  },
  bitfusion: { rows: 32, columns: 40, high: 8, low: 4 },
  int8: { rows: 32, columns: 32, high: 8, low: 4 },
  'mixpe-w4a16': { rows: 32, columns: 32, high: 16, low: 8 },
  fp16: { rows: 32, columns: 28, high: 16, low: 16 },
  'int8-area': { ...equalArea('int8', 'w4a8', 64 * 64), high: 8, low: 8 },
  'fp16-area': { ...equalArea('fp16', 'w4a16', 32 * 32), high: 16, low: 16 },
};

const afterGroup = (design: MixpeDesign): boolean => design === 'mixpe-w4a8' || design === 'mixpe-w4a16';

function elementOf({ high, low, counted }: Configuration): Element {
  if (counted !== undefined) return element(counted);
  const power = high === 8 ? powerParameters.w4a8 : low === 8 ? powerParameters.w4a16 : powerParameters.fp16;
  return {
    ...{
      weightBits: high,
      activationBits: high,
      leastWeightBits: low,
      leastActivationBits: low,
      productsPerCycle: 1,
      areaMm2: 0,
    },
    ...{ dynamicPj: picojoules(power.dynamic), leakageWatts: power.leakage.value * 1e-9 },
  };
}

/** DDR energies of the authors' simulator: picojoules per bit. */
const DRAM = { read: 644.304 / 1024, write: 784.104 / 1024 } as const;

function designOf(configuration: Configuration): ArrayDesign {
  const { rows, columns, high } = configuration;
  const common = commonParameters;
  return {
    ...{ rows, columns, frequencyHz: common.frequency.value, element: elementOf(configuration) },
    ...{ weightBits: high, storedWeightBits: high, activationBits: high, cacheBits: high, outputBits: 16 },
    ...{ bubbles: 0, isSkewed: false, readsPerProduct: true },
    weights: { ...sramOf(common.weightBuffer.value), leakageWatts: 0 },
    activations: { ...sramOf(common.activationBuffer.value), leakageWatts: 0 },
    // 1024 banks of 128 bytes, whose words are small.
    outputs: { ...sramOf(common.outputBuffer.value, 1024), ...outputBanks, leakageWatts: 0 },
    memory: {
      ...{ bitsPerCycle: common.memoryWidth.value, readPjPerBit: DRAM.read, writePjPerBit: DRAM.write },
      staticWatts: common.memoryStatic.value,
    },
  };
}

/** CACTI, a bank of 128 bytes with words of 4 bytes (the same sweep). */
const outputBanks = { readPjPerBit: 0.294945 / 32, writePjPerBit: 0.415925 / 32 } as const;

/** Weights (k × n) of one layer: the projections and two feed-forward matrices. */
const matricesOf = (hidden: number): readonly (readonly [number, number])[] => [
  ...[[hidden, 3 * hidden] as const, [hidden, hidden] as const],
  ...[[hidden, 4 * hidden] as const, [4 * hidden, hidden] as const],
];

function productsOf(design: MixpeDesign, model: MixpeModel, reading: Reading): readonly GemmShape[] {
  const { high, low, wideLayers } = configurations[design];
  const { hidden, layers, patches } = models[model];
  const product = (m: number, k: number, n: number, count: number, isNarrow: boolean): GemmShape => {
    const activations = isNarrow && (reading === 'both' || design === 'ant') ? low : high;
    const bits = { weights: isNarrow ? low : high, activations };
    return { m, k, n, count, operand: 'weights', bits };
  };
  return [
    ...(patches ? [product(BATCH * 14 * 14, 3 * 16 * 16, hidden, 1, false)] : []),
    ...matricesOf(hidden).flatMap(([k, n]) => {
      // BitFusion: the output projection of every other layer in 4 bits.
      const square = k === hidden && n === hidden;
      const wide =
        design === 'bitfusion' && square
          ? layers / 2
          : design === 'ant' || afterGroup(design)
            ? (wideLayers?.[model] ?? 0)
            : layers;
      const again = afterGroup(design)
        ? product(BATCH, k / 8, n / 128, layers, false)
        : product(BATCH, k, n / 8, layers, false);
      return [product(BATCH, k, n, wide, false), product(BATCH, k, n, layers - wide, true), again];
    }),
  ].filter(({ count }) => count > 0);
}

export type MixpeResult = { readonly seconds: number; readonly energy: Energy };

function runMixpe(design: MixpeDesign, model: MixpeModel, reading: Reading = 'both'): MixpeResult {
  const common = designOf(configurations[design]);
  // An element that does one product is as wide as its weights: what is wide takes two.
  const { low } = configurations[design];
  const single = { ...common.element, weightBits: low };
  const own = reading === 'none' && afterGroup(design) ? { ...common, element: single } : common;
  const { seconds, energy } = evaluateArray(own, productsOf(design, model, reading));
  return { seconds, energy };
}

const mixpeModels: readonly MixpeModel[] = ['vit', 'vit-huge', 'opt-6.7b', 'llama-2-13b'];

/** Time and energy ÷ those of the FP16 array. */
function normalised(design: MixpeDesign, model: MixpeModel, reading: Reading = 'both') {
  const [own, base] = [runMixpe(design, model, reading), runMixpe('fp16', model, reading)];
  return { time: own.seconds / base.seconds, energy: joulesOf(own.energy) / joulesOf(base.energy) };
}

/** Times and energies of the authors' table, their energies added up of four parts, in the order of the designs. */
const designs = ['mixpe-w4a8', 'ant', 'bitfusion', 'int8', 'mixpe-w4a16'] as const;
const table: Readonly<Record<MixpeModel, { readonly time: readonly number[]; readonly energy: readonly number[] }>> = {
  vit: { time: [0.15, 0.61, 0.7, 0.82, 0.53], energy: [0.26, 0.39, 0.48, 0.51, 0.53] },
  'vit-huge': { time: [0.12, 0.47, 0.67, 0.82, 0.32], energy: [0.18, 0.3, 0.43, 0.5, 0.32] },
  'opt-6.7b': { time: [0.1, 0.4, 0.68, 0.86, 0.19], energy: [0.14, 0.25, 0.43, 0.49, 0.22] },
  'llama-2-13b': { time: [0.1, 0.4, 0.68, 0.86, 0.19], energy: [0.14, 0.25, 0.43, 0.51, 0.22] },
};

const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

/** How much less of `what` the design takes than another, geometric mean over models. */
function gain(
  what: 'time' | 'energy',
  { own, base, reading }: { readonly own: MixpeDesign; readonly base: MixpeDesign; readonly reading: Reading },
  over: readonly MixpeModel[] = mixpeModels,
): number {
  return geometricMean(
    over.map((model) => normalised(base, model, reading)[what] / normalised(own, model, reading)[what]),
  );
}

function checkTable(): readonly Check[] {
  return mixpeModels.flatMap((model) =>
    (['time', 'energy'] as const).flatMap((what) =>
      designs.map((design, i): Check => {
        return {
          ...{ group: 'mixpe-table', figure: `${model}: ${what} of ${design} ÷ FP16` },
          ...{ published: table[model][what][i] ?? Number.NaN, ours: normalised(design, model)[what] },
          // The authors' energies are sums of four numbers of two digits, 0.14 in all: they say ±0.02.
          tolerance: what === 'time' ? 0.1 : 0.15,
        };
      }),
    ),
  );
}

const quantized = ['ant', 'bitfusion', 'int8'] as const;
const languageModels = ['opt-6.7b', 'llama-2-13b'] as const;

function checkHeadline(): readonly Check[] {
  const check = (figure: string, published: number, ours: number, tolerance: number | null): Check => {
    return { group: 'mixpe-headline', figure, published, ours, tolerance };
  };
  const beside = (what: 'time' | 'energy') =>
    geometricMean(quantized.map((base) => gain(what, { own: 'mixpe-w4a8', base, reading: 'none' })));
  const int8 = (what: 'time' | 'energy', reading: Reading) => gain(what, { own: 'mixpe-w4a8', base: 'int8', reading });
  const fp16 = (what: 'time' | 'energy', reading: Reading, over?: readonly MixpeModel[]) =>
    gain(what, { own: 'mixpe-w4a16', base: 'fp16', reading }, over);
  const area = (own: 'mixpe-w4a8' | 'mixpe-w4a16', what: 'time' | 'energy') =>
    gain(what, { own, base: own === 'mixpe-w4a8' ? 'int8-area' : 'fp16-area', reading: 'none' });
  return [
    check('W4A8 speed ÷ ANT, BitFusion, INT8 (mean); one product an element', 2.6, beside('time'), 0.1),
    check('energy of ANT, BitFusion, INT8 (mean) ÷ W4A8; one product an element', 1.4, beside('energy'), 0.1),
    check(
      'W4A16 speed ÷ FP16; language models, only weights narrow',
      2.44,
      fp16('time', 'weights', languageModels),
      0.1,
    ),
    check('W4A16 energy saved beside FP16; the table as published', 0.68, 1 - 1 / fp16('energy', 'both'), 0.1),
    check('W4A8 speed ÷ INT8; arrays of equal area, one product an element', 2.6, area('mixpe-w4a8', 'time'), 0.1),
    check(
      'energy of INT8 ÷ W4A8; arrays of equal area, one product an element',
      1.4,
      area('mixpe-w4a8', 'energy'),
      null,
    ),
    check('W4A16 speed ÷ FP16; arrays of equal area, one product an element', 2.44, area('mixpe-w4a16', 'time'), null),
    check(
      'W4A16 energy saved beside FP16; arrays of equal area, one product an element',
      0.68,
      1 - 1 / area('mixpe-w4a16', 'energy'),
      null,
    ),
    check('W4A8 speed ÷ INT8; the table as published', 2.6, int8('time', 'both'), null),
    check('W4A8 speed ÷ INT8; one product an element', 2.6, int8('time', 'none'), null),
    check('energy of INT8 ÷ W4A8; one product an element', 1.4, int8('energy', 'none'), null),
    check('W4A16 speed ÷ FP16; the table as published', 2.44, fp16('time', 'both'), null),
    check('W4A16 energy saved beside FP16; only weights narrow', 0.68, 1 - 1 / fp16('energy', 'weights'), null),
  ];
}

export const checkMixpe = (): readonly Check[] => [...checkTable(), ...checkHeadline()];
