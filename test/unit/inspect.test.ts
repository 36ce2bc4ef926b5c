import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRows, ranges } from '../../src/cli/inspect/describe.js';
import { bars, channelMaxima, findOutliers } from '../../src/cli/inspect/outliers.js';
import { expectedTensors } from '../../src/model/architecture-tensors.js';
import { findTensorFormatByName } from '../../src/model/gguf-types.js';
import type { ModelFile } from '../../src/model/types.js';
import type { InputStatistics } from '../../src/native/contract.js';
import { resolveRecipe } from '../../src/quant/recipe.js';
import { tinySpec } from '../support/gguf-fixtures.js';

const typeId = (name: string): number => findTensorFormatByName(name)?.id ?? -1;

/** A description of a model whose layers are Q4_0 but for one matrix. */
async function describedFile(settings: readonly string[]): Promise<ModelFile> {
  const architecture = tinySpec({ layers: 4 });
  const tensors = [...expectedTensors(architecture)].flatMap(([name, { shape, optional }]) => {
    if (optional) return [];
    const type = shape.length === 1 ? 'F32' : name === 'blk.2.ffn_down.weight' ? 'Q8_0' : 'Q4_0';
    return [{ name, type: typeId(type), shape, offset: 0 }];
  });
  const recipe = await resolveRecipe('w4a8-sym', settings);
  const provenance = { sourceSha256: '', calibrationSha256: null, toolVersion: '', seed: 0n };
  const nibble = { formatVersion: 1, recipe, provenance };
  return {
    path: '',
    id: '',
    fileBytes: 0,
    architectureName: 'llama',
    architecture,
    tensors,
    nibble,
  } as unknown as ModelFile;
}

test('layers are told as ranges', () => {
  assert.equal(ranges([0, 1, 2, 5, 7, 8]), '0-2, 5, 7-8');
  assert.equal(ranges([3, 3, 1]), '1, 3');
  assert.equal(ranges([]), '');
});

test('matrices are summed up by class, format and how their input is read', async () => {
  const rows = formatRows(await describedFile(['layers.1.qkv.activations=f32']));
  const shown = rows.map(({ matrixClass, layers, tensors, type, kernels }) => [
    matrixClass,
    layers,
    tensors,
    type,
    kernels,
  ]);
  assert.deepEqual(shown, [
    ['qkv', '0, 2-3', 9, 'Q4_0', 'w4a8'],
    ['qkv', '1', 3, 'Q4_0', 'w4a16'],
    ['output', '0-3', 4, 'Q4_0', 'w4a8'],
    ['gateUp', '0-3', 8, 'Q4_0', 'w4a8'],
    ['down', '0-1, 3', 3, 'Q4_0', 'w4a8'],
    ['down', '2', 1, 'Q8_0', 'w8a8'],
    ['head', '', 1, 'Q4_0', 'w4a8'],
    ['vectors', '0-3', 9, 'F32', ''],
  ]);
  const [down] = rows.filter(({ matrixClass, layers }) => matrixClass === 'down' && layers === '2');
  // 96 inputs are 3 blocks of 34 bytes; 64 rows.
  assert.deepEqual([down?.bytes, down?.bitsPerWeight], [64 * 3 * 34, 8.5]);
});

/** Two chunks of 64 channels; channel 9 stands out, in the second chunk only. */
function statisticsWithOutlier(): InputStatistics {
  const inputs = 64;
  const minima = new Float32Array(2 * inputs).fill(-1);
  const maxima = new Float32Array(2 * inputs).fill(0.5);
  minima[inputs + 9] = -64;
  maxima[3] = 4;
  return {
    inputs,
    tokens: 10,
    minima,
    maxima,
    squares: new Float64Array(inputs),
    magnitudes: new Float64Array(64),
    hessian: null,
  };
}

test('outlier channels are found, whichever chunk and sign they are in', () => {
  const found = findOutliers(statisticsWithOutlier());
  assert.equal(channelMaxima(statisticsWithOutlier())[9], 64);
  assert.deepEqual([found.max, found.median, found.outliers], [64, 1, 1]);
  assert.deepEqual(found.top.slice(0, 2), [9, 3]);
  assert.equal(bars(found.profile)[0], '█');
  // 64 = 2⁶ times smaller: six steps down from the highest.
  assert.equal(bars(found.profile).at(-1), '▂');
});

test('a chunk that saw no token doesn’t count, nor does an input of zeros break anything', () => {
  const { inputs, ...rest } = statisticsWithOutlier();
  const minima = new Float32Array(2 * inputs).fill(Number.POSITIVE_INFINITY).fill(0, 0, inputs);
  const maxima = new Float32Array(2 * inputs).fill(Number.NEGATIVE_INFINITY).fill(0, 0, inputs);
  const found = findOutliers({ ...rest, inputs, minima, maxima });
  assert.deepEqual([found.max, found.median, found.outliers], [0, 0, 0]);
});
