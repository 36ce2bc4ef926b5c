/**
 * Every design of a space for one workload: which element, which recipe, how large the array and its buffers, how fast
 * memory and clock. Pure; half a million points take seconds.
 */
import { type ArrayDesign, type Element, evaluateArray } from '../accelerators/array.js';
import { commonParameters } from '../accelerators/designs.js';
import { type ElementName, element } from '../accelerators/elements.js';
import { type Sram, sramOf } from '../accelerators/sram.js';
import { type Evaluation, type GemmShape, joulesOf } from '../accelerators/types.js';
import type { Columns } from './pareto.js';

/** What a recipe asks of hardware, and what it loses. */
export type SweepRecipe = {
  readonly name: string;
  /** Measured on the model: KL divergence from the float model, nats per token. */
  readonly error: number;
  readonly weightBits: number;
  /** With scales and minima. */
  readonly storedWeightBits: number;
  readonly activationBits: number;
  readonly headBits: number;
  readonly scheme: 'float' | 'groups' | 'channels';
  /** Groups of channels: a cycle is lost between two. */
  readonly channelGroups?: number;
};

export const sweepElements = ['fp16', 'w4a16', 'int8', 'w4a8', 'int4', 'fused', 'tender', 'table'] as const;
export type SweepElement = (typeof sweepElements)[number] & ElementName;

export const dimensions = [
  ...(['rows', 'columns', 'weightBufferKiB', 'activationBufferKiB'] as const),
  ...(['outputBufferKiB', 'memoryGBs', 'clockMHz'] as const),
] as const;
export type Dimension = (typeof dimensions)[number];
export type Space = Readonly<Record<Dimension, readonly number[]>> & { readonly elements: readonly SweepElement[] };

export type Choice = Readonly<Record<Dimension, number>> & { readonly element: SweepElement; readonly recipe: string };
export type Pair = { readonly element: SweepElement; readonly recipe: SweepRecipe };

/** Floats need a float element; Tender's channels its shifter, which has no scale per group; the rest is integers. */
export function canRun(name: SweepElement, { scheme, weightBits }: SweepRecipe): boolean {
  if (scheme === 'float') return name === 'fp16' || (name === 'w4a16' && weightBits <= 4);
  if (scheme === 'channels') return name === 'tender';
  return name !== 'fp16' && name !== 'w4a16' && name !== 'tender';
}

export function pairsOf(space: Space, recipes: readonly SweepRecipe[]): readonly Pair[] {
  return space.elements.flatMap((name) =>
    recipes.filter((recipe) => canRun(name, recipe)).map((recipe) => ({ element: name, recipe })),
  );
}

export const countPoints = (space: Space, pairs: number): number =>
  dimensions.reduce((product, name) => product * space[name].length, pairs);

/** Layers of the recipe: keys, values and the head have widths of their own. */
function widthsOf(layers: readonly GemmShape[], recipe: SweepRecipe, vocab: number): readonly GemmShape[] {
  const { weightBits, storedWeightBits, activationBits, headBits, scheme } = recipe;
  const float = scheme === 'float';
  return layers.map((shape) => {
    if (shape.operand === 'cache') return { ...shape, bits: { weights: float ? 16 : 8, activations: float ? 16 : 8 } };
    if (shape.n === vocab) return { ...shape, bits: { weights: headBits, activations: float ? 16 : 8 } };
    return { ...shape, bits: { weights: weightBits, activations: activationBits, stored: storedWeightBits } };
  });
}

/** What a point chose: the first dimension changes fastest, the pair slowest. */
export function choiceAt(space: Space, pairs: readonly Pair[], index: number): Choice {
  let rest = index;
  const next = (name: Dimension): number => {
    const values = space[name];
    const value = values[rest % values.length] ?? 0;
    rest = Math.floor(rest / values.length);
    return value;
  };
  const [rows, columns, weightBufferKiB, activationBufferKiB] = [
    next('rows'),
    next('columns'),
    next('weightBufferKiB'),
    next('activationBufferKiB'),
  ];
  const [outputBufferKiB, memoryGBs, clockMHz] = [next('outputBufferKiB'), next('memoryGBs'), next('clockMHz')];
  const pair = pairs[rest];
  if (pair === undefined) throw new RangeError(`no point ${index}`);
  const { element: name, recipe } = pair;
  const buffers = { weightBufferKiB, activationBufferKiB, outputBufferKiB };
  return { element: name, recipe: recipe.name, rows, columns, ...buffers, memoryGBs, clockMHz };
}

/** What many designs share. */
type Parts = { readonly buffer: (kib: number) => Sram; readonly element: (name: SweepElement) => Element };

function cached<K, V>(make: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>();
  return (key) => {
    const found = known.get(key) ?? make(key);
    known.set(key, found);
    return found;
  };
}

const createParts = (): Parts => ({ buffer: cached((kib: number) => sramOf(kib * 1024)), element: cached(element) });

/** An interface as wide stands by as the published one, of 64 GB/s, does. */
const STATIC_WATTS_PER_GBS =
  commonParameters.memoryStatic.value / ((commonParameters.memoryWidth.value * commonParameters.frequency.value) / 8e9);

/** Energy per cycle and leakage don't depend on the clock: the supply is the published one. */
function designOf(choice: Choice, recipe: SweepRecipe, parts: Parts): ArrayDesign {
  const { memoryEnergy } = commonParameters;
  const frequencyHz = choice.clockMHz * 1e6;
  return {
    rows: choice.rows,
    columns: choice.columns,
    frequencyHz,
    element: parts.element(choice.element),
    weightBits: recipe.weightBits,
    storedWeightBits: recipe.storedWeightBits,
    activationBits: recipe.activationBits,
    cacheBits: 8,
    outputBits: 16,
    bubbles: Math.max(0, (recipe.channelGroups ?? 1) - 1),
    isSkewed: true,
    readsPerProduct: false,
    weights: parts.buffer(choice.weightBufferKiB),
    activations: parts.buffer(choice.activationBufferKiB),
    outputs: parts.buffer(choice.outputBufferKiB),
    memory: {
      bitsPerCycle: (choice.memoryGBs * 8e9) / frequencyHz,
      readPjPerBit: memoryEnergy.value,
      writePjPerBit: memoryEnergy.value,
      staticWatts: STATIC_WATTS_PER_GBS * choice.memoryGBs,
    },
  };
}

export type Workload = { readonly layers: readonly GemmShape[]; readonly vocab: number };

/** One point in full. */
export function evaluateChoice(choice: Choice, recipe: SweepRecipe, { layers, vocab }: Workload): Evaluation {
  return evaluateArray(designOf(choice, recipe, createParts()), widthsOf(layers, recipe, vocab));
}

/** Seconds, joules, mm² and error of every point, in the order of `choiceAt`. */
export function sweep(space: Space, pairs: readonly Pair[], { layers, vocab }: Workload): Columns {
  const count = countPoints(space, pairs.length);
  const each = count / Math.max(1, pairs.length);
  const [seconds, joules, area, error] = Array.from({ length: 4 }, () => new Float64Array(count)) as [
    ...[Float64Array, Float64Array, Float64Array, Float64Array],
  ];
  const parts = createParts();
  for (const [place, { recipe }] of pairs.entries()) {
    const shapes = widthsOf(layers, recipe, vocab);
    for (let index = place * each; index < (place + 1) * each; ++index) {
      const found = evaluateArray(designOf(choiceAt(space, pairs, index), recipe, parts), shapes);
      seconds[index] = found.seconds;
      joules[index] = joulesOf(found.energy);
      area[index] = found.areaMm2;
      error[index] = recipe.error;
    }
  }
  return [seconds, joules, area, error];
}
