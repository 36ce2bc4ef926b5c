/** Ruined model files: the program ends with a coded error, never by a signal. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readModelFile } from '../../src/model/gguf.js';
import { defaultModelPath } from '../support/default-model.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { ruinedModels } from '../support/gguf-ruined.js';
import { outcome, RealServer, readChunks, spawnNibble } from '../support/real-server.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-files-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** What `nibble serve` says and how it ends. */
async function serve(model: string): Promise<string> {
  const { code, signal, stderr } = await outcome(
    spawnNibble(['serve', '--model', model, '--port', '0', '--log-level', 'fatal']),
  );
  assert.deepEqual([code, signal], [1, null], stderr);
  assert.match(stderr, /^nibble: [a-z_]+: .+\n$/, 'one line');
  return /^nibble: ([a-z_]+):/.exec(stderr)?.[1] ?? '';
}

/** Outcome of each file in one child process. */
async function probe(...args: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const script = fileURLToPath(new URL('../support/native-probe-main.ts', import.meta.url));
  const { code, signal, stdout, stderr } = await outcome(spawn(process.execPath, ['--import', 'tsx', script, ...args]));
  const lines = stdout.trim().split('\n');
  assert.deepEqual([code, signal], [0, null], `the process ended after ${lines.at(-1)}: ${stderr}`);
  const results = lines.map((line) => JSON.parse(line)).filter((line) => 'outcome' in line);
  return new Map(results.map(({ path, outcome: result }) => [path, result]));
}

test('the real model, ruined on disk', async () => {
  const path = join(folder, 'ruined.gguf');
  await copyFile(await defaultModelPath(), path);
  const { tensors, fileBytes } = await readModelFile(path);
  const at = tensors.find(({ name }) => name === 'blk.29.ffn_down.weight')?.offset ?? 0;
  const poke = async (bytes: readonly number[]) => {
    const file = await open(path, 'r+');
    await file.write(Buffer.from(bytes), 0, bytes.length, at);
    await file.close();
  };
  assert.ok(at > 0);
  const [first = 0, second = 0] = (await readFile(path)).subarray(at, at + 2);
  await poke([0x00, 0x7e]);
  assert.equal(await serve(path), 'model_tensor_not_finite', 'a scale that is NaN');
  await poke([0x00, 0xfc]);
  assert.equal(await serve(path), 'model_tensor_not_finite', 'a scale of minus infinity');
  await poke([first, second]);
  for (const [bytes, code] of [
    [fileBytes - 1, 'model_tensor_out_of_range'],
    [Math.floor(fileBytes / 2), 'model_tensor_out_of_range'],
    [100_000, 'model_file_invalid'],
    [3, 'model_file_invalid'],
    [0, 'model_file_invalid'],
  ] as const) {
    await truncate(path, bytes);
    assert.equal(await serve(path), code, `${bytes} bytes`);
  }
});

test('a model that becomes shorter while it is loaded', async () => {
  const path = await defaultModelPath();
  for (const afterMs of [0, 5, 20]) {
    const result = (await probe('--cut-after', String(afterMs), path)).get(path) ?? '';
    assert.ok(['model_file_unreadable', 'model_tensor_out_of_range', 'loaded'].includes(result), result);
    // Later cuts may come too late on a quick machine.
    if (afterMs === 0) assert.notEqual(result, 'loaded');
  }
});

test('generated models, each ruined in one way', async (t) => {
  const expected = new Map<string, string>();
  for (const [index, { name, code, write }] of ruinedModels.entries()) {
    const path = join(folder, `${index} ${name.replaceAll('/', ' ')}.gguf`);
    await write(path);
    expected.set(path, code);
  }
  const sound = await writeTinyModel(join(folder, 'sound.gguf'));
  const found = await probe(...expected.keys(), sound);
  assert.equal(found.get(sound), 'finite');
  for (const [path, code] of expected) assert.equal(found.get(path), code, path);
  t.diagnostic(`${expected.size} ruined models`);
  assert.ok(expected.size >= 30);
});

test('what is no file at all', async () => {
  const empty = join(folder, 'folder.gguf');
  await mkdir(empty);
  assert.equal(await serve(empty), 'model_file_not_found');
  assert.equal(await serve(join(folder, 'missing.gguf')), 'model_file_not_found');
  const page = join(folder, 'page.gguf');
  await writeFile(page, '<!DOCTYPE html>');
  assert.equal(await serve(page), 'model_file_invalid');
});

test('weights that are finite but overflow: the request fails with a code, the server goes on', async () => {
  const path = await writeTinyModel(join(folder, 'overflow.gguf'), { types: { vector: 'F32' } });
  const { tensors } = await readModelFile(path);
  const at = tensors.find(({ name }) => name === 'output_norm.weight')?.offset ?? 0;
  const bytes = await readFile(path);
  for (let i = 0; i < 64; i += 1) bytes.writeFloatLE(3e38, at + 4 * i);
  await writeFile(path, bytes);
  const server = await RealServer.start({ model: path, flags: ['--kv-tokens', '512'] });
  try {
    const response = await server.post({ prompt: [1, 2, 3] });
    assert.deepEqual([response.status, JSON.parse(await response.text()).error.code], [500, 'not_finite']);
    const stream = await server.post({ prompt: [1, 2, 3], stream: true });
    const [chunk] = readChunks(await stream.text()) as readonly object[];
    assert.ok(chunk !== undefined && 'error' in chunk);
    await server.becomeIdle();
  } finally {
    await server.stop();
  }
});
