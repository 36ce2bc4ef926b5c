/** Matrices that quantizers stumble over, and what must hold for every format. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { weightFormat } from '../../src/model/recipe.js';
import type { CodeFormat, QuantizedMatrix, QuantizeRequest } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { Random } from '../../src/random.js';

const COLS = 128;
const random = new Random(17);
/** Bell-shaped: four uniform numbers. */
const noise = () => Array.from({ length: 4 }, () => random.below(2001) / 1000 - 1).reduce((sum, x) => sum + x, 0);
const matrix = (rows: number) => Float32Array.from({ length: rows * COLS }, () => 0.1 * noise());

/** Σ x·xᵀ of `tokens` inputs whose channels are mixed, and of very different size. */
function hessianOf(tokens: number): Float32Array {
  const h = new Float32Array(COLS * COLS);
  for (let t = 0; t < tokens; t += 1) {
    const shared = noise();
    const x = Array.from({ length: COLS }, (_, i) => (noise() + 2 * shared) * 2 ** (i % 7));
    for (let i = 0; i < COLS; i += 1) {
      for (let j = 0; j < COLS; j += 1) h[i * COLS + j] = (h[i * COLS + j] ?? 0) + (x[i] ?? 0) * (x[j] ?? 0);
    }
  }
  return h;
}
const hessian = hessianOf(200);

function quantize(weights: Float32Array, changes: Partial<QuantizeRequest> = {}): Promise<QuantizedMatrix> {
  return loadAddon().quantizeMatrix({
    ...{ weights, rows: weights.length / COLS, cols: COLS, format: 'w4g32', rounding: 'gptq', clip: 'mse' },
    ...{ actOrder: true, damping: 0.01, sweeps: 2, threads: 2 },
    ...(changes.rounding === 'rtn' ? {} : { hessian }),
    ...changes,
  });
}

/** Bytes of a row of 128 inputs, from the formats' definitions. */
const rowBytes: Readonly<Record<CodeFormat, number>> = {
  ...{ w4g32: 4 * 18, w4g32a: 4 * 20, w5g32: 4 * 22, w5g32a: 4 * 24, w8g32: 4 * 34, w4g64: 2 * 34, w4g64a: 2 * 36 },
  ...{ w4g128: 66, w4g128a: 68, w8g64: 2 * 66, w8g128: 130, w8row: 132, w4row: 68, w2g64c: 2 * 22, w2g128c: 38 },
  ...{ w1g64: 2 * 10, w1g128: 18, w2g64: 2 * 18, w2g64a: 2 * 20, w2g128: 34, w3g64: 2 * 26, w3g128: 50 },
  ...{ w4g64p: 2 * 34, t2g64: 2 * 18 },
};
const formats = Object.keys(rowBytes) as CodeFormat[];

/** One bit keeps the sign and a mean: 1 − 2/π of the square of normal weights is lost without a Hessian. */
const most = (format: CodeFormat) => (/^[wt][12]/.test(format) ? 0.4 : 0.1);

test('every format has its bytes; threads and levels change none; a row alone is the row among others', async () => {
  const weights = matrix(101);
  for (const format of formats) {
    for (const actOrder of [false, true]) {
      const { bytes, error } = await quantize(weights, { format, actOrder, threads: 1 });
      assert.equal(bytes.length, 101 * rowBytes[format]);
      assert.ok(error > 0 && error < most(format), `${format}: ${error}`);
      assert.deepEqual((await quantize(weights, { format, actOrder, threads: 3 })).bytes, bytes);
      const row = await quantize(weights.slice(70 * COLS, 71 * COLS), { format, actOrder });
      assert.deepEqual(row.bytes, bytes.subarray(70 * rowBytes[format], 71 * rowBytes[format]));
    }
  }
  const before = process.env.NIBBLE_ISA;
  try {
    process.env.NIBBLE_ISA = 'scalar';
    const scalar = await quantize(weights);
    if (before === undefined) delete process.env.NIBBLE_ISA;
    else process.env.NIBBLE_ISA = before;
    assert.deepEqual((await quantize(weights)).bytes, scalar.bytes);
  } finally {
    if (before === undefined) delete process.env.NIBBLE_ISA;
    else process.env.NIBBLE_ISA = before;
  }
});

/** What a file says that holds these blocks, as models are read. */
function decode(bytes: Uint8Array, format: CodeFormat, rows: number): Float32Array {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-quantize-edges-'));
  try {
    const path = join(folder, 'tensor');
    writeFileSync(path, bytes);
    return loadAddon().dequantize(path, {
      ...{ name: format, type: weightFormat(format).tensorType, shape: [COLS, rows], offset: 0 },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('what the blocks say is as far from the weights as the quantizer tells', async () => {
  const weights = matrix(9);
  const squares = weights.reduce((sum, w) => sum + w * w, 0);
  for (const format of formats) {
    const { bytes, error } = await quantize(weights, { format, rounding: 'rtn', sweeps: 0 });
    const read = decode(bytes, format, 9);
    const lost = read.reduce((sum, value, i) => sum + (value - (weights[i] ?? 0)) ** 2, 0) / squares;
    // Own formats hold the scales that codes were chosen for; nothing but the order of sums may differ.
    assert.ok(Math.abs(lost / error - 1) < 1e-3, `${format}: ${lost} in the file, ${error} told`);
  }
});

test('widths that are no whole blocks of the factorization: as two matrices that know nothing of each other', async () => {
  const [left, right] = [96, 32];
  const weights = matrix(4);
  // Inputs of the right part go with none of the left one, and are as large as those in the mean.
  const apart = hessian.map((value, at) => (Math.floor(at / COLS) < left && at % COLS < left ? value : 0));
  const mean = Array.from({ length: left }, (_, i) => apart[i * COLS + i] ?? 0).reduce((a, b) => a + b) / left;
  for (let i = left; i < COLS; i += 1) apart[i * COLS + i] = mean;
  const alone = Float32Array.from({ length: left * left }, (_, at) => {
    return apart[Math.floor(at / left) * COLS + (at % left)] ?? 0;
  });
  const cut = Float32Array.from(
    { length: 4 * left },
    (_, at) => weights[Math.floor(at / left) * COLS + (at % left)] ?? 0,
  );
  const options = { actOrder: false, clip: 'none', sweeps: 0 } as const;
  const [whole, part] = [
    await quantize(weights, { ...options, hessian: apart }),
    await quantize(cut, { ...options, hessian: alone, cols: left, rows: 4 }),
  ];
  const blockBytes = 18;
  for (let row = 0; row < 4; row += 1) {
    const start = row * ((left + right) / 32) * blockBytes;
    const [own, other] = [row * 3 * blockBytes, (row + 1) * 3 * blockBytes];
    assert.deepEqual(whole.bytes.slice(start, start + 3 * blockBytes), part.bytes.slice(own, other));
  }
});

test('fitted scales never lose more than those of the largest value, by the importance given', async () => {
  const weights = matrix(40);
  const importance = Float32Array.from({ length: COLS }, (_, i) => (i % 5 === 0 ? 100 : 1));
  for (const format of formats) {
    const plain = await quantize(weights, { format, rounding: 'rtn', clip: 'none', sweeps: 0, importance });
    const fitted = await quantize(weights, { format, rounding: 'rtn', clip: 'mse', sweeps: 0, importance });
    assert.ok(fitted.error <= plain.error * (1 + 1e-5), `${format}: ${fitted.error}, ${plain.error}`);
    if (format.startsWith('w4')) assert.ok(fitted.error < 0.97 * plain.error, `${format} gains by clipping`);
  }
});

test('zeros, one value, dead channels and inputs that never vary quantize to something finite', async () => {
  const dead = hessian.map((value, at) => (at % COLS < 40 || at < 40 * COLS ? 0 : value));
  const ones = new Float32Array(COLS * COLS).fill(1e6);
  const none = new Float32Array(COLS * COLS);
  const tiny = hessian.map((value) => value * 1e-30);
  for (const format of formats) {
    const zeros = await quantize(new Float32Array(COLS), { format });
    assert.deepEqual([zeros.error, zeros.bytes.length], [0, rowBytes[format]]);
    for (const h of [dead, ones, none, tiny]) {
      const { error } = await quantize(matrix(3), { format, hessian: h });
      assert.ok(error >= 0 && error < most(format), `${format}: ${error}`);
    }
    const constant = await quantize(new Float32Array(COLS).fill(0.5), { format });
    assert.ok(constant.error < 1e-4, `${format} of one value: ${constant.error}`);
  }
});

test('of channels that nothing came through, weights are rounded to nearest', async () => {
  const none = new Float32Array(COLS * COLS);
  const weights = matrix(5);
  const options = { clip: 'none', sweeps: 0, actOrder: false } as const;
  const fed = await quantize(weights, { ...options, hessian: none, format: 'w8g32' });
  const nearest = await quantize(weights, { ...options, rounding: 'rtn', format: 'w8g32' });
  assert.ok(Math.abs(fed.error - nearest.error) < 0.02 * nearest.error);
});

test('a Hessian that is no product of inputs is damped until it has a factor, or refused', async () => {
  const indefinite = hessian.slice();
  indefinite[1] = indefinite[COLS] = 40 * (hessian[0] ?? 0); // more than two channels can share
  const { error } = await quantize(matrix(3), { hessian: indefinite, sweeps: 0 });
  assert.ok(Number.isFinite(error));
  const negative = hessian.map((value) => -value);
  await assert.rejects(quantize(matrix(3), { hessian: negative }), { code: 'native_invalid_argument' });
});

test('what can’t be is refused', async () => {
  const weights = matrix(2);
  const refused = { code: 'native_invalid_argument' };
  await assert.rejects(quantize(weights, { rows: 3 }), refused);
  await assert.rejects(quantize(weights, { rows: 0, weights: new Float32Array(0) }), refused);
  await assert.rejects(quantize(weights, { cols: 64, rows: 4 }), refused, 'the Hessian is of another width');
  await assert.rejects(quantize(weights, { rows: 16, cols: 16, rounding: 'rtn', sweeps: 0 }), refused);
  await assert.rejects(quantize(weights, { format: 'w3' as CodeFormat }), refused);
  await assert.rejects(quantize(weights, { rounding: 'rtn', sweeps: 1 }), refused, 'descent needs the Hessian');
  await assert.rejects(quantize(weights, { importance: new Float32Array(3) }), refused);
  await assert.rejects(quantize(weights, { importance: new Float32Array(COLS).fill(-1) }), refused);
  await assert.rejects(quantize(weights, { hessian: hessian.map(() => Number.NaN) }), refused);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 70_000]) {
    const spoilt = weights.slice().fill(value, 7, 8);
    await assert.rejects(quantize(spoilt, {}), { code: 'model_tensor_not_finite' });
  }
});
