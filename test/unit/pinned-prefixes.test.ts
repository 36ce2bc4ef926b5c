/** Pinned prefixes: they stay in the cache, come back after a restart, and no file can put wrong blocks there. */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { type PinOptions, pinPrefixes } from '../../src/engine/pin-prefixes.js';
import type { Tokenizer } from '../../src/model/types.js';
import {
  byteTokenizer,
  collect,
  type Kit,
  promptOf,
  request,
  startKit,
  stopKit,
  submitOne,
} from '../support/engine-kit.js';

let base: string;
let folder: string;
let round = 0;
before(async () => {
  base = await mkdtemp(join(tmpdir(), 'nibble-pins-'));
});
after(() => rm(base, { recursive: true, force: true }));
beforeEach(async () => {
  folder = join(base, `${round++}`);
  await mkdir(folder);
});

/** A token a byte, as the engine tests' tokenizer has it. */
const tokenizer: Tokenizer = { ...byteTokenizer(), encode: (text) => Int32Array.from(Buffer.from(text, 'latin1')) };
/** 100 tokens: six whole blocks and a rest. */
const PREFIX = promptOf(100, 3).map((id) => 32 + (id % 90));
const PINNED_TOKENS = 96;
const BLOCK_FILE_BYTES = 32 + 64;
const HEAD_BYTES = 48;

const textFile = async (name: string, ids: ArrayLike<number>): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, Buffer.from(Int32Array.from(ids)).toString('latin1'), 'utf8');
  return path;
};

type PinChanges = Partial<PinOptions> & { readonly blocks?: number };

/** An engine of a fresh process that pins what `path` names. */
async function start(path: string, changes: PinChanges = {}) {
  const { blocks: kvBlockCount = 40, ...options } = changes;
  const kit = startKit({ config: { kvBlockCount }, tokenizer });
  const warnings: string[] = [];
  const modelFile = { architecture: { layers: 1 } } as never;
  const target = { engine: kit.engine, nativeModel: kit.native, modelFile, tokenizer, kvBlockCount } as never;
  const store = { folder: join(folder, 'store'), bytesMax: 1e6 };
  const defaults = { path, activations: 'a8', kv: 'f16', store } as const;
  const prefixes = await pinPrefixes(target, { ...defaults, onWarning: (text) => warnings.push(text), ...options });
  return { kit, prefixes, warnings };
}

const storeFiles = async () => (await readdir(join(folder, 'store'))).sort();
const storeFile = async () => join(folder, 'store', (await storeFiles())[0] ?? '');

/** The prefix and 30 tokens more: a sequence whose history the fake addon compares with what its blocks hold. */
const asks = (salt: number) => request([...PREFIX, ...promptOf(30, salt)], 5);

async function stop(kit: Kit, pinnedBlocks: number): Promise<void> {
  await kit.engine.drain();
  assert.equal(kit.engine.gauges().kvBlocksUsed, pinnedBlocks);
  assert.deepEqual(kit.native.violations, []);
  await kit.engine.close();
}

/** The same question to an engine that pins nothing. */
async function unpinned(salt: number) {
  const kit = startKit({ tokenizer });
  const { tokenIds } = await collect(submitOne(kit.engine, asks(salt)));
  await stopKit(kit);
  return tokenIds;
}

test('what is pinned is computed once, and stays when other prompts need the whole pool', async () => {
  const { kit, prefixes } = await start(await textFile('a.txt', PREFIX));
  assert.deepEqual(prefixes, [{ tokens: PINNED_TOKENS, restored: 0, computed: PINNED_TOKENS }]);
  // 34 blocks are left; each of these takes 20.
  for (let salt = 1; salt <= 5; salt++) await collect(submitOne(kit.engine, request(promptOf(300, salt), 20)));
  const answer = await collect(submitOne(kit.engine, asks(9)));
  assert.equal(answer.cachedTokens, PINNED_TOKENS);
  assert.deepEqual(answer.tokenIds, await unpinned(9));
  await stop(kit, 6);
});

test('a restart takes the blocks from the disk and computes nothing', async () => {
  const path = await textFile('a.txt', PREFIX);
  const first = await start(path);
  await stop(first.kit, 6);
  assert.equal((await stat(await storeFile())).size, HEAD_BYTES + 6 * BLOCK_FILE_BYTES);
  const { kit, prefixes, warnings } = await start(path);
  assert.deepEqual(prefixes, [{ tokens: PINNED_TOKENS, restored: PINNED_TOKENS, computed: 0 }]);
  assert.deepEqual([kit.native.stepTokens, warnings], [[], []]);
  const answer = await collect(submitOne(kit.engine, asks(4)));
  assert.equal(answer.cachedTokens, PINNED_TOKENS);
  assert.deepEqual(answer.tokenIds, await unpinned(4));
  await stop(kit, 6);
});

test('prefixes of a folder share the blocks that they have in common', async () => {
  const texts = join(folder, 'texts');
  await mkdir(texts);
  await writeFile(join(texts, 'ignored.md'), 'x'.repeat(64));
  await writeFile(join(texts, 'a.txt'), Buffer.from(PREFIX).toString('latin1'), 'utf8');
  await writeFile(join(texts, 'b.txt'), Buffer.from([...PREFIX.subarray(0, 50), ...PREFIX]).toString('latin1'), 'utf8');
  const { kit, prefixes } = await start(texts);
  // 150 tokens are nine blocks, of which three are the first prefix's.
  assert.deepEqual(prefixes, [
    { tokens: 96, restored: 0, computed: 96 },
    { tokens: 144, restored: 0, computed: 96 },
  ]);
  await stop(kit, 12);
  const again = await start(texts);
  assert.deepEqual(
    again.prefixes.map(({ restored, computed }) => [restored, computed]),
    [
      [96, 0],
      [96, 0],
    ],
  );
  await stop(again.kit, 12);
});

/** What somebody, or a bad disk, may have done to the file; how many blocks before the damage are still good. */
const damages: readonly (readonly [string, (bytes: Buffer) => Buffer, number])[] = [
  ['a bit of the fourth block', (bytes) => flipped(bytes, HEAD_BYTES + 3 * BLOCK_FILE_BYTES + 40), 3],
  ['a bit of the first hash', (bytes) => flipped(bytes, HEAD_BYTES), 0],
  ['two blocks exchanged', (bytes) => exchanged(bytes), 1],
  ['the identity', (bytes) => flipped(bytes, 20), 0],
  ['cut', (bytes) => bytes.subarray(0, bytes.length - 1), 0],
  ['empty', () => Buffer.alloc(0), 0],
  ['longer', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), 0],
];
function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}
function exchanged(bytes: Buffer): Buffer {
  const at = (block: number) => HEAD_BYTES + block * BLOCK_FILE_BYTES;
  const pieces = [bytes.subarray(0, at(1)), bytes.subarray(at(2), at(3)), bytes.subarray(at(1), at(2))];
  return Buffer.concat([...pieces, bytes.subarray(at(3))]);
}
for (const [name, damage, good] of damages) {
  test(`a damaged file (${name}) gives no wrong block, and is replaced`, async () => {
    const path = await textFile('a.txt', PREFIX);
    await stop((await start(path)).kit, 6);
    const file = await storeFile();
    const whole = await readFile(file);
    await writeFile(file, damage(whole));
    const { kit, prefixes } = await start(path);
    assert.deepEqual(prefixes, [{ tokens: 96, restored: good * 16, computed: 96 - good * 16 }]);
    assert.deepEqual(await readFile(file), whole);
    assert.deepEqual((await collect(submitOne(kit.engine, asks(2)))).tokenIds, await unpinned(2));
    await stop(kit, 6);
  });
}

test('a file that others may write is not read', async () => {
  const path = await textFile('a.txt', PREFIX);
  await stop((await start(path)).kit, 6);
  await chmod(await storeFile(), 0o602);
  const { kit, prefixes } = await start(path);
  assert.deepEqual(prefixes, [{ tokens: 96, restored: 0, computed: 96 }]);
  assert.equal((await stat(await storeFile())).mode & 0o777, 0o600);
  await stop(kit, 6);
});

test('other tokens, another KV format or other activations never find the file', async () => {
  const path = await textFile('a.txt', PREFIX);
  await stop((await start(path)).kit, 6);
  for (const [other, changes] of [
    [await textFile('b.txt', PREFIX.with(5, 33)), {}],
    [path, { kv: 'kv8' }],
    [path, { activations: 'f32' }],
  ] satisfies [string, PinChanges][]) {
    const { kit, prefixes } = await start(other, changes);
    assert.deepEqual(prefixes, [{ tokens: 96, restored: 0, computed: 96 }]);
    await stop(kit, 6);
  }
  assert.equal((await storeFiles()).length, 4);
});

test('nothing is stored without a folder, or beyond its bound; a folder that fails is a warning', async () => {
  const path = await textFile('a.txt', PREFIX);
  const none = await start(path, { store: null });
  await stop(none.kit, 6);
  const small = await start(path, { store: { folder: join(folder, 'store'), bytesMax: HEAD_BYTES } });
  await stop(small.kit, 6);
  await assert.rejects(storeFiles());
  const blocked = await start(path, { store: { folder: join(path, 'below a file'), bytesMax: 1e6 } });
  assert.match(blocked.warnings.join(), /a pinned prefix was not stored/);
  await stop(blocked.kit, 6);
});

test('what can not be pinned is refused: more than half of the pool, no text, no file', async () => {
  const path = await textFile('a.txt', PREFIX);
  const half = await start(path, { blocks: 12 });
  await stop(half.kit, 6);
  await assert.rejects(start(path, { blocks: 11 }), { code: 'config_invalid', message: /more than half/ });
  await mkdir(join(folder, 'none'));
  await assert.rejects(start(join(folder, 'none')), { code: 'config_invalid', message: /no \.txt files/ });
  await assert.rejects(start(join(folder, 'missing')), {
    code: 'config_invalid',
    message: /missing can't be read: no such file/,
  });
  await writeFile(join(folder, 'large.txt'), Buffer.alloc(1024 * 1024 + 1));
  await assert.rejects(start(join(folder, 'large.txt')), { code: 'config_invalid', message: /bytes/ });
});

test('a request is measured against the pool without pinned blocks, but for those that it shares', async () => {
  const { kit } = await start(await textFile('a.txt', PREFIX), { blocks: 20 });
  // 14 blocks are free: 224 tokens of anything, 320 of what begins with the prefix.
  const full = await collect(submitOne(kit.engine, request(promptOf(220, 1), 4)));
  assert.equal(full.reason, 'length');
  assert.throws(() => submitOne(kit.engine, request(promptOf(222, 1), 4)), { code: 'kv_capacity_exceeded' });
  const sharing = await collect(submitOne(kit.engine, request([...PREFIX, ...promptOf(215, 2)], 4)));
  assert.deepEqual([sharing.reason, sharing.cachedTokens], ['length', PINNED_TOKENS]);
  const scored = request([...PREFIX, ...promptOf(215, 2)], 4, { scorePrompt: true, logprobs: 0 });
  assert.throws(() => submitOne(kit.engine, scored), { code: 'kv_capacity_exceeded' });
  await stop(kit, 6);
});
