/**
 * Quantized matrices against others' code: the gguf package's round to nearest, byte by byte, and the paper's GPTQ in
 * float64 (tools/reference/quantize_matrix.py), by the loss of the same layer.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CodeFormat, QuantizedMatrix, QuantizeRequest } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { runReference } from '../support/python.js';

type Manifest = {
  readonly rows: number;
  readonly cols: number;
  readonly gptq: readonly {
    readonly format: CodeFormat;
    readonly actOrder: boolean;
    readonly loss: number;
    readonly rtnLoss: number;
  }[];
};

let folder: string;
let manifest: Manifest;
let weights: Float32Array;
let hessian: Float32Array;

async function floats(name: string): Promise<Float32Array> {
  const bytes = await readFile(join(folder, name));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-quantize-'));
  await runReference('quantize_matrix.py', [folder, '11']);
  manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
  weights = await floats('weights.f32');
  hessian = await floats('hessian.f32');
});
after(() => rm(folder, { recursive: true, force: true }));

function quantize(changes: Partial<QuantizeRequest>): Promise<QuantizedMatrix> {
  const { rows, cols } = manifest;
  return loadAddon().quantizeMatrix({
    ...{ weights, rows, cols, format: 'w4g32', rounding: 'rtn', clip: 'none', actOrder: false },
    ...{ damping: 0.01, sweeps: 0, threads: 2 },
    ...changes,
  });
}

for (const format of ['w4g32', 'w4g32a', 'w5g32', 'w5g32a', 'w8g32'] as const) {
  test(`${format} rounded to nearest has the bytes that the gguf package gives`, async () => {
    const { bytes } = await quantize({ format });
    assert.deepEqual(Buffer.from(bytes), await readFile(join(folder, `${format}.rtn`)));
  });
}

test('GPTQ loses what the paper’s algorithm loses, format by format and in both orders', async () => {
  for (const { format, actOrder, loss, rtnLoss } of manifest.gptq) {
    const { error } = await quantize({ format, actOrder, rounding: 'gptq', hessian });
    const name = `${format}${actOrder ? ', by size' : ''}`;
    // Scales that are chosen on the way may take the other of two values alike in size, and the rest of such a row goes
    // another way: over 400 rows that moves the loss by a percent, either way.
    const tolerance = actOrder || format === 'w4row' ? 1e-3 : 0.03;
    assert.ok(Math.abs(error / loss - 1) < tolerance, `${name}: ${error} against ${loss}`);
    assert.ok(loss < 0.8 * rtnLoss, `${name}: the layer must tell GPTQ from rounding to nearest`);
  }
});

test('round to nearest reports the loss that its codes have', async () => {
  for (const { format, actOrder, rtnLoss } of manifest.gptq) {
    if (actOrder) continue;
    const { error } = await quantize({ format, hessian });
    assert.ok(Math.abs(error / rtnLoss - 1) < 0.01, `${format}: ${error} against ${rtnLoss}`);
  }
});

test('fitted scales and sweeps of descent lose less than the paper’s algorithm, each sweep no more than before', async () => {
  for (const { format, actOrder, loss } of manifest.gptq) {
    let last = Number.POSITIVE_INFINITY;
    for (const sweeps of [0, 1, 2, 4]) {
      const { error } = await quantize({ format, actOrder, rounding: 'gptq', clip: 'mse', hessian, sweeps });
      assert.ok(error <= last * (1 + 1e-4), `${format}: ${sweeps} sweeps lose ${error}, fewer ${last}`);
      last = error;
    }
    assert.ok(last < 0.9 * loss, `${format}, by size ${actOrder}: ${last} against ${loss}`);
  }
});
