/** A quantization that was stopped goes on where it stopped, and gives the same bytes. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { QuantizeKit, type Run } from '../support/quantize-kit.js';

const run: Run = { recipe: 'w4a8-sym', set: ['calibration.tokens=64', 'calibration.window=32'] };
let kit: QuantizeKit;
before(async () => {
  kit = await QuantizeKit.create();
  const f32 = { attention: 'F32', ffn: 'F32', embedding: 'F32' } as const;
  await writeTinyModel(kit.path('model.gguf'), { layers: 4, types: f32 });
  await kit.run('model.gguf', 'whole.gguf', run);
});
after(() => kit.remove());

const refusal = (code: string) => (error: unknown) => error instanceof NibbleError && error.code === code;

/** Runs until `parts` parts are done. */
async function stopAfter(parts: number, out: string): Promise<string> {
  const abort = new AbortController();
  const onProgress: Run['onProgress'] = (phase, done) => {
    if (phase === 'quantizing' && done === parts) abort.abort();
  };
  await assert.rejects(
    kit.run('model.gguf', out, { ...run, onProgress, signal: abort.signal }),
    refusal('interrupted'),
  );
  assert.ok(!existsSync(kit.path(out)), 'nothing that looks finished');
  return `${kit.path(out)}.parts`;
}

test('finished layers are kept, checked and not made again', async () => {
  const folder = await stopAfter(2, 'resumed.gguf');
  const paths = ['layer-000.gguf', 'layer-001.gguf'].map((name) => join(folder, name));
  const [first = '', second = ''] = paths;
  const damaged = await readFile(second);
  damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
  await writeFile(second, damaged);
  const before = (await stat(first, { bigint: true })).mtimeNs;
  let kept = 0n;
  const onProgress: Run['onProgress'] = async (phase, done) => {
    if (phase === 'quantizing' && done === 1) kept = (await stat(first, { bigint: true })).mtimeNs;
  };
  await kit.run('model.gguf', 'resumed.gguf', { ...run, resume: true, onProgress });
  assert.equal(kept, before, 'the first layer was used as it was');
  assert.ok((await kit.bytes('resumed.gguf')).equals(await kit.bytes('whole.gguf')), 'the damaged one was made anew');
  assert.ok(!existsSync(folder), 'nothing is left');
});

test('parts of another recipe are refused, and done anew without --resume', async () => {
  await stopAfter(1, 'other.gguf');
  const other = { ...run, set: [...(run.set ?? []), 'damping=0.02'] };
  await assert.rejects(kit.run('model.gguf', 'other.gguf', { ...other, resume: true }), refusal('invalid_request'));
  await kit.run('model.gguf', 'other.gguf', run);
  assert.ok((await kit.bytes('other.gguf')).equals(await kit.bytes('whole.gguf')));
});

test('a folder of the same name that is somebody else’s stays', async () => {
  const folder = kit.path('mine.gguf.parts');
  await mkdir(folder);
  await writeFile(join(folder, 'notes.txt'), 'mine');
  await assert.rejects(kit.run('model.gguf', 'mine.gguf', run), refusal('output_exists'));
  assert.deepEqual(await readdir(folder), ['notes.txt']);
});
