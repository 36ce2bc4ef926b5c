/** The rotations of rows: orthogonal for every width that has one; and codebooks of weights that are made of levels. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadAddon } from '../../src/native/load.js';
import { Random } from '../../src/random.js';

/** R of a width, row by row: what it makes of the unit vectors, transposed. */
function matrixOf(width: number): (row: number, column: number) => number {
  const unit = Float32Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));
  const columns = loadAddon().rotateRows(unit, width, 'forward');
  return (row, column) => columns[column * width + row] ?? 0;
}

test('a rotation has entries ±1/√n and orthogonal rows; the inverse undoes it', () => {
  // Paley I (12, 20), Paley II (28, 36), and powers of two alone.
  for (const width of [16, 64, 12 * 16, 20 * 16, 28 * 16, 36 * 16]) {
    const at = matrixOf(width);
    const size = 1 / Math.sqrt(width);
    for (let i = 0; i < width; i += 7) {
      for (let j = 0; j < width; j += 5) {
        assert.ok(Math.abs(Math.abs(at(i, j)) - size) < 1e-6, `${width}: ${at(i, j)} at ${i}, ${j}`);
        let dot = 0;
        for (let k = 0; k < width; k += 1) dot += at(i, k) * at(j, k);
        assert.ok(Math.abs(dot - (i === j ? 1 : 0)) < 1e-5, `${width}: rows ${i} and ${j}: ${dot}`);
      }
    }
    const random = new Random(width);
    const row = Float32Array.from({ length: 3 * width }, () => random.below(1000) / 500 - 1);
    const back = loadAddon().rotateRows(loadAddon().rotateRows(row, width, 'forward'), width, 'inverse');
    assert.ok(
      row.every((value, i) => Math.abs(value - (back[i] ?? 0)) < 1e-5),
      `${width}`,
    );
  }
});

test('widths without a rotation, and rows that are none, are refused', () => {
  const invalid = (error: unknown) =>
    error instanceof Error && 'code' in error && error.code === 'native_invalid_argument';
  // 48 = 16 · 3 leaves parts of 4; 24 is too short; 16 · 4 · 23 would need an order of 92 by neither construction.
  for (const width of [8, 24, 48, 92 * 16]) {
    assert.throws(() => loadAddon().rotateRows(new Float32Array(width), width, 'forward'), invalid, `${width}`);
  }
  assert.throws(() => loadAddon().rotateRows(new Float32Array(65), 64, 'forward'), invalid);
  assert.throws(() => loadAddon().rotateRows(new Float32Array(24), 24, 'heads'), invalid);
});

/** Groups of 64 whose weights are four numbers, in no order; scales differ from group to group. */
function leveled(rows: number, levels: readonly number[]): Float32Array {
  const random = new Random(3);
  return Float32Array.from({ length: rows * 128 }, (_, i) => {
    const level = i % 64 < 4 ? levels[i % 4] : levels[random.below(4)];
    return (level ?? 0) * 2 ** -(Math.floor(i / 64) % 5);
  });
}

test('learned levels find four numbers that a group is made of; even ones can not', async () => {
  const weights = leveled(5, [-31, -9, 2, 30]);
  const quantize = (learnsLevels: boolean) =>
    loadAddon().quantizeMatrix({
      ...{ weights, rows: 5, cols: 128, format: 'w2g64c', rounding: 'rtn', clip: 'mse', learnsLevels },
      ...{ actOrder: false, damping: 0.01, sweeps: 0, threads: 1 },
    });
  const { bytes, error } = await quantize(true);
  assert.ok(error < 1e-12, `${error}`);
  assert.ok((await quantize(false)).error > 1e-3);
  for (const [row, block] of [
    [0, 0],
    [3, 1],
    [4, 0],
  ] as const) {
    const at = (2 * row + block) * 22;
    assert.deepEqual([...new Int8Array(bytes.buffer, bytes.byteOffset + at + 2, 4)], [-31, -9, 2, 30]);
    const codes = bytes.subarray(at + 6, at + 22);
    for (let i = 0; i < 64; i += 1) {
      const code = ((codes[Math.floor(i / 16) * 4 + (i % 4)] ?? 0) >> (2 * Math.floor((i % 16) / 4))) & 3;
      const scale = 2 ** -((2 * row + block) % 5);
      assert.equal([-31, -9, 2, 30][code], (weights[row * 128 + block * 64 + i] ?? 0) / scale, `input ${i}`);
    }
  }
});
