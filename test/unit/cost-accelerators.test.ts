import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ArrayDesign, evaluateArray, movedBits } from '../../src/cost/accelerators/array.js';
import { adder, integerElement, multiplier, registers } from '../../src/cost/accelerators/cells.js';
import { elementGates, picojoules, powerParameters } from '../../src/cost/accelerators/elements.js';
import {
  accelerators,
  evaluateCpu,
  type GemmShape,
  joulesOf,
  throughputOf,
} from '../../src/cost/accelerators/index.js';
import { sramOf } from '../../src/cost/accelerators/sram.js';
import { systolicCycles } from '../../src/cost/accelerators/systolic.js';
import { agrees, checkAll, errorOf } from '../../src/cost/accelerators/validation/index.js';
import { requestGemms } from '../../src/cost/accelerators/workload.js';

const buffer = (bytes: number, read: number, write: number, leakageWatts: number) => {
  return { bytes, readPjPerBit: read, writePjPerBit: write, leakageWatts, areaMm2: 0.5 };
};

/** Round numbers, so that results can be worked out on paper. */
const design: ArrayDesign = {
  ...{ rows: 2, columns: 2, frequencyHz: 1e9, isSkewed: false, readsPerProduct: false, bubbles: 0 },
  element: {
    ...{ weightBits: 8, activationBits: 8, leastWeightBits: 4, leastActivationBits: 4, productsPerCycle: 1 },
    ...{ dynamicPj: 1, leakageWatts: 0.25, areaMm2: 0.1 },
  },
  ...{ weightBits: 8, storedWeightBits: 8, activationBits: 8, cacheBits: 8, outputBits: 16 },
  weights: buffer(1000, 0.5, 0.25, 1),
  activations: buffer(1000, 0.125, 0.0625, 2),
  outputs: buffer(1000, 2, 4, 3),
  memory: { bitsPerCycle: 1e6, readPjPerBit: 10, writePjPerBit: 20, staticWatts: 5 },
};
const shape: GemmShape = { m: 4, k: 3, n: 5, count: 1, operand: 'weights' };
const near = (actual: number, expected: number, message?: string) =>
  assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.abs(expected), `${message}: ${actual} is not ${expected}`);

test('energy of arithmetic, on-chip memory, memory and standing by is that of a hand calculation', () => {
  const { macs, cycles, seconds, energy, areaMm2 } = evaluateArray(design, [{ ...shape, count: 7 }]);
  assert.equal(macs, 7 * 4 * 3 * 5);
  // 2 × 3 folds of 3 cycles.
  assert.equal(cycles, 7 * 6 * 3);
  near(seconds, 7 * 18e-9);
  near(energy.mac, 7 * 18 * 4 * 1e-12, 'mac');
  // 96 bits of activations are filled once and read by 3 columns of folds, 120 of weights by 2 rows; 320 of outputs.
  const sram = 96 * (3 * 0.125 + 0.0625) + 120 * (2 * 0.5 + 0.25) + 320 * (2 + 4);
  near(energy.sram, 7 * sram * 1e-12, 'sram');
  near(energy.dram, 7 * (216 * 10 + 320 * 20) * 1e-12, 'dram');
  near(energy.static, (4 * 0.25 + 1 + 2 + 3 + 5) * 7 * 18e-9, 'static');
  near(areaMm2, 4 * 0.1 + 3 * 0.5, 'area');
});

test('each product reads both operands where the array hands none on', () => {
  const { energy } = evaluateArray({ ...design, readsPerProduct: true }, [shape]);
  const sram = 96 * (5 * 0.125 + 0.0625) + 120 * (4 * 0.5 + 0.25) + 320 * (2 + 4);
  near(energy.sram, sram * 1e-12);
});

test('a product takes as long as its bytes if that is longer', () => {
  const memory = { ...design.memory, bitsPerCycle: 8 };
  // 216 bits read and 320 written.
  assert.equal(evaluateArray({ ...design, memory }, [shape]).cycles, 536 / 8);
});

test('widths: half as wide operands share an element, twice as wide ones take two, bits in turn take cycles', () => {
  const at = (weights: number, activations: number) =>
    evaluateArray(design, [{ ...shape, m: 64, n: 64, bits: { weights, activations } }]).cycles;
  assert.equal(at(8, 8), 32 * 32 * 3);
  assert.equal(at(4, 8), at(8, 8) / 2);
  assert.equal(at(4, 4), at(8, 8) / 4);
  assert.equal(at(2, 4), at(4, 4), 'below the least width nothing is gained');
  assert.equal(at(16, 8), 2 * at(8, 8));
  const serial = { ...design, element: { ...design.element, productsPerCycle: 2 } };
  assert.equal(evaluateArray(serial, [{ ...shape, k: 64 }]).cycles, 6 * 32);
});

test('a skewed array takes the cycles that SCALE-Sim counts, and a bubble more per boundary', () => {
  for (const [m, k, n] of [[64, 64, 64] as const, [37, 50, 100] as const, [1, 576, 576] as const]) {
    const array = { rows: 8, columns: 16 };
    const gemm = { m, k, n, count: 1, operand: 'weights' } as const;
    const free = { ...design, ...array, isSkewed: true, memory: { ...design.memory, bitsPerCycle: 1e12 } };
    const expected = systolicCycles({ m, k, n }, { ...array, dataflow: 'output-stationary' }) + 1;
    assert.equal(evaluateArray(free, [gemm]).cycles, expected);
    const folds = Math.ceil(m / 8) * Math.ceil(n / 16);
    assert.equal(evaluateArray({ ...free, bubbles: 7 }, [gemm]).cycles, expected + 7 * folds);
  }
});

test('what stays on chip decides how often the other operand is read', () => {
  const bits = { weights: 8, stored: 8, activations: 8 };
  const large = { m: 100, k: 100, n: 100, count: 1, operand: 'weights' } as const;
  const one = 100 * 100 * 8;
  const none = buffer(0, 0, 0, 0);
  const only = (part: Partial<ArrayDesign>) => ({
    ...design,
    ...{ weights: none, activations: none, outputs: none },
    ...part,
  });
  // Half a buffer of 20 rows of 800 bits holds 10 of them: weights pass ten times.
  assert.equal(movedBits(large, bits, only({ activations: buffer(2000, 0, 0, 0) })).read, 11 * one);
  assert.equal(movedBits(large, bits, only({ weights: buffer(4000, 0, 0, 0) })).read, 6 * one);
  // 2500 outputs as a square of 50: both operands pass twice. As 100 × 25: one once, one four times.
  assert.equal(movedBits(large, bits, only({ outputs: buffer(10_000, 0, 0, 0) })).read, 4 * one);
  const whole = buffer(1e6, 0, 0, 0);
  assert.deepEqual(movedBits(large, bits, only({ outputs: whole })), { read: 2 * one, written: 100 * 100 * 16 });
});

test('buffers pass through the sizes that CACTI was asked for', () => {
  // 32 banks of 8 KiB, 17.7688 pJ for a word of 512 bits.
  const { readPjPerBit, areaMm2, leakageWatts } = sramOf(262_144);
  near(readPjPerBit, 17.7688 / 512);
  near(areaMm2, 32 * 0.0555837);
  near(leakageWatts, 32 * 5.4983e-3);
  near(sramOf(131_072).readPjPerBit, 16.8924 / 512);
});

test('gates are counted: registers, a row of ANDs per bit, adders between rows', () => {
  // Two bits by two: 4 ANDs, one full adder, one half adder.
  near(multiplier(2, 2), (4 * 1.064 + 4.256 + 2.66) / 0.798);
  near(integerElement(4, 4, 20), registers(28) + multiplier(4, 4) + adder(20));
  const { dynamic, leakage } = powerParameters.w4a8;
  near(picojoules(dynamic) + picojoules(leakage), (344.274 * 1e-6) / 500e6 / 1e-12, 'of 344 µW');
  // The count agrees with what was synthesized: 16/16 draws 1.53 times what 16/8 does.
  const counted = elementGates.fp16 / elementGates.w4a16;
  assert.ok(Math.abs(counted / (1_032_924 / 673_440) - 1) < 0.1, `${counted}`);
});

test('a request is the matrices of every token, its attention, and a head for each token written', () => {
  const model = {
    ...{ name: 'small', layers: 2, hidden: 8, heads: 4, kvHeads: 2, headDim: 4, ffn: 16 },
    ...{ ffnMatrices: 3 as const, vocab: 100 },
  };
  const layers = requestGemms(model, { batch: 3, promptTokens: 5, outputTokens: 2 });
  const macs = (operand: GemmShape['operand']) =>
    layers.reduce((sum, { m, k, n, count, operand: of }) => sum + (of === operand ? m * k * n * count : 0), 0);
  // (8·(16 + 16) + 16·8 + 3·8·16) weights in each layer; 3 sequences of 7 tokens; heads: 1 + 2 rows each.
  assert.equal(macs('weights'), 2 * (8 * 32 + 16 * 8 + 3 * 8 * 16) * 21 + 3 * 3 * 8 * 100);
  // Scores and values of 4 heads of 4: 5 tokens see 3 positions on average, then 2 see 6.5, rounded up.
  assert.equal(macs('cache'), 2 * 3 * 2 * 4 * 4 * (5 * 3 + 2 * 7));
});

test('every accelerator runs every model, names its sources, and its parts are positive', () => {
  const model = {
    ...{ name: 'm', layers: 2, hidden: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536 },
    ...{ ffnMatrices: 3 as const, vocab: 1000 },
  };
  const layers = requestGemms(model, { batch: 4, promptTokens: 64, outputTokens: 8 });
  const macs = layers.reduce((sum, { m, k, n, count }) => sum + m * k * n * count, 0);
  for (const accelerator of accelerators) {
    const found = accelerator.evaluate(layers);
    assert.equal(found.macs, macs, accelerator.name);
    assert.ok(found.areaMm2 > 0 && Object.values(found.energy).every((joules) => joules > 0), accelerator.name);
    near(throughputOf(found).macsPerJoule * joulesOf(found.energy), macs);
    assert.ok(accelerator.parameters.every(({ source, unit, value }) => source !== '' && unit !== '' && value >= 0));
    const slow = accelerator.evaluate(layers, { memoryBitsPerCycle: 8 });
    assert.ok(slow.seconds > found.seconds, 'memory is what holds a decode up');
  }
});

test('a CPU takes the longer of arithmetic and of reading; attention is done in floats', () => {
  const limits = { readBytesPerS: 100, int8MacsPerS: 1000, fp32MacsPerS: 10, watts: 2 };
  const widths = { storedWeightBits: 4, cacheBits: 16, isFloat: false };
  const of = (layer: Partial<GemmShape>, isFloat = false) =>
    evaluateCpu(limits, { ...widths, isFloat }, [{ ...shape, count: 2, ...layer }]);
  // 60 products at 1000 a second, 7.5 bytes at 100 a second: reading.
  near(of({}).seconds, 2 * 0.075);
  near(of({ m: 8 }).seconds, 2 * 0.12, '120 products take longer');
  near(of({}, true).seconds, 2 * 6);
  const { energy, macs } = of({ operand: 'cache' });
  assert.equal(macs, 120);
  near(energy.mac, 120 * 4.6e-12);
  near(energy.dram, 2 * 30 * 64e-12);
  near(energy.static, 2 * 2 * 6);
});

test('published figures are met within the tolerance that is claimed for each', () => {
  const checks = checkAll();
  const wrong = checks.filter((check) => !agrees(check));
  assert.deepEqual(
    wrong.map((check) => `${check.figure}: ${errorOf(check)}`),
    [],
  );
  const claimed = (group: string) => checks.filter((check) => check.group === group && check.tolerance !== null).length;
  assert.deepEqual(['mixpe-table', 'mixpe-headline', 'tender', 'lut'].map(claimed), [40, 5, 3, 6]);
});
