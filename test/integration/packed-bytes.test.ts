import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadNativeModel } from '../../src/engine/open.js';
import { tensorTypeNames } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import { kvBytesPerToken } from '../../src/model/kv-bytes.js';
import { packedBytes } from '../../src/model/packed-bytes.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';

test('what a model will take in memory is known beforehand, for every format', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nibble-packed-'));
  try {
    for (const type of tensorTypeNames) {
      const types = { attention: type, ffn: type, embedding: type };
      const path = await writeTinyModel(join(folder, `${type}.gguf`), { hidden: 256, ffn: 512, heads: 4, types });
      const file = await readModelFile(path);
      const sizes = { contextTokensMax: 64, kvBlockCount: 4, slotCount: 1 };
      const model = await loadNativeModel(file, { threads: 1, activations: 'a8', kv: 'f16', ...sizes });
      const { packedBytes: actual, kvBytes } = model.info;
      await model.close();
      const estimate = packedBytes(file.tensors);
      // Vectors and padding are what differs.
      assert.ok(estimate / actual > 0.97 && estimate / actual < 1.1, `${type}: ${estimate} for ${actual}`);
      assert.equal(kvBytes, 4 * 16 * kvBytesPerToken(file.architecture, 'f16'));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
