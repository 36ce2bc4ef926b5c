// What loading keeps in memory: the packed weights and little else, whether they were packed now or read from disk.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadNativeModel } from '../../src/engine/open.js';
import { readModelFile } from '../../src/model/gguf.js';
import { defaultModelPath } from '../support/default-model.js';

/** Beside the weights and a tenth of them: tables, step buffers, heap. Scratch of packing must have been given back. */
const BESIDE_BYTES_MAX = 32 * 2 ** 20;
/** 1.5 GB of KV pool for this model: only what sequences touch may become resident, so nothing yet. */
const KV_BLOCKS = 4096;

const folder = await mkdtemp(join(tmpdir(), 'nibble-memory-'));
after(() => rm(folder, { recursive: true, force: true }));

test('resident growth by loading is at most 1.1 times the packed weights and 32 MiB', async () => {
  const file = await readModelFile(await defaultModelPath());
  const sizes = {
    threads: 2,
    activations: 'a8',
    kv: 'f16',
    slotCount: 64,
    contextTokensMax: 8192,
    kvBlockCount: KV_BLOCKS,
  } as const;
  for (const pack of ['made', 'stored']) {
    const before = process.memoryUsage.rss();
    const model = await loadNativeModel(file, { ...sizes, packFolder: folder });
    const growth = process.memoryUsage.rss() - before;
    const { packedBytes, kvBytes, pack: origin } = model.info;
    assert.equal(origin, pack);
    assert.ok(kvBytes > 2 ** 30, 'the pool is large enough to show');
    assert.ok(growth > 0.9 * packedBytes, `${growth} bytes: the weights themselves must show`);
    assert.ok(growth <= 1.1 * packedBytes + BESIDE_BYTES_MAX, `${growth} bytes for ${packedBytes} of weights`);
    if (pack === 'made') await model.storePack();
    await model.close();
  }
});
