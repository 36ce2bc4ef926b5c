/** Packed weights on disk: the same model as without, never a stale one, and nothing in such a file can do harm. */
import assert from 'node:assert/strict';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NativeKit } from '../support/native-kit.js';
import { assertSameRows, logitsOf, randomTokens } from '../support/native-logits.js';
import { hostLevels, modelFolder, patchTensor, weightModels } from '../support/native-models.js';
import { xxh64 } from '../support/xxh64.js';

/** Of a file changed less than this before nothing is stored (native/engine/input_file.cpp), with room. */
const SETTLED_MS = 3100;
const MAGIC_BYTES = 16;
const prompt = randomTokens(40, 288, 1);
const rows = [0, 39];

let models: Awaited<ReturnType<typeof modelFolder>>;
let packs: string;
let path: string;
/** Copies of the model that are old enough, for tests that change one. */
let copies: string[];
before(async () => {
  models = await modelFolder();
  packs = await mkdtemp(join(tmpdir(), 'nibble-packs-'));
  path = await models.write('mixed', weightModels.mixed ?? {});
  copies = ['a', 'b'].map((name) => join(path, '..', `${name}.gguf`));
  for (const copy of copies) await copyFile(path, copy);
  await sleep(SETTLED_MS);
});
after(async () => {
  await models.remove();
  await rm(packs, { recursive: true, force: true });
});

type Loaded = { readonly pack: string; readonly logits: Awaited<ReturnType<typeof logitsOf>> };

async function load(model: string, packFolder?: string, options: { level?: 'scalar'; store?: boolean } = {}) {
  const { level, store = false } = options;
  const kit = await NativeKit.open(model, {
    ...(packFolder === undefined ? {} : { packFolder }),
    ...(level === undefined ? {} : { level }),
  });
  try {
    const loaded: Loaded = { pack: kit.model.info.pack, logits: await logitsOf(kit, prompt, [40], rows) };
    if (store) await kit.model.storePack();
    return loaded;
  } finally {
    await kit.close();
  }
}

async function emptyFolder(): Promise<string> {
  return mkdtemp(join(packs, 'x'));
}

/** A folder with the pack of the model, and the pack's path. */
async function storedPack(model: string): Promise<readonly [folder: string, pack: string]> {
  const folder = await emptyFolder();
  await load(model, folder, { store: true });
  const [name, ...others] = await readdir(folder);
  assert.deepEqual(others, [], 'one file, and nothing temporary');
  assert.match(name ?? '', /^[0-9a-f]{16}\.pack$/);
  return [folder, join(folder, name ?? '')];
}

test('a stored pack is read by the next start, on every level, and gives the same bits', async () => {
  const plain = await load(path);
  assert.equal(plain.pack, 'unsettled');
  const folder = await emptyFolder();
  assert.equal((await load(path, folder, { store: true })).pack, 'made');
  const fast = await load(path, folder);
  assert.equal(fast.pack, 'stored');
  assertSameRows(fast.logits, plain.logits, hostLevels.at(-1) ?? '');
  const slow = await load(path, folder, { level: 'scalar' });
  assert.equal(slow.pack, 'stored');
  assertSameRows(slow.logits, plain.logits, 'scalar');
});

test('a read marks the pack as used', async () => {
  const [folder, pack] = await storedPack(path);
  await utimes(pack, 1000, 1000);
  await load(path, folder);
  assert.ok((await stat(pack)).mtimeMs > 1_000_000);
});

test('a file changed in place, its time set back, is packed again; so is one replaced by another of its size', async () => {
  const original = await load(path);
  const folders: string[] = [];
  for (const [i, copy] of copies.entries()) {
    const { mtime, atime, size } = await stat(copy);
    folders.push((await storedPack(copy))[0]);
    const target = i === 0 ? copy : `${copy}.new`;
    if (i > 0) await copyFile(copy, target);
    // A scale of the embedding: another model, if only by one number.
    await patchTensor(target, 'token_embd.weight', 1, Uint8Array.of(0x2a));
    await utimes(target, atime, mtime);
    if (i > 0) await rename(target, copy);
    assert.equal((await stat(copy)).size, size);
    const folder = folders.at(-1);
    assert.equal((await load(copy, folder)).pack, 'unsettled', 'of what was changed a moment ago nothing is stored');
    await assert.rejects(load(copy, folder, { store: true }), { code: 'pack_not_stored' });
  }
  await sleep(SETTLED_MS);
  for (const [i, copy] of copies.entries()) {
    const changed = await load(copy, folders[i]);
    assert.equal(changed.pack, 'made');
    assertSameRows(changed.logits, (await load(copy)).logits, 'the changed file');
    assert.throws(() => assertSameRows(changed.logits, original.logits, 'the change must show'));
  }
});

/** What can happen to a file between two starts. */
const damages: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  empty: () => Buffer.alloc(0),
  'cut in the head': (bytes) => bytes.subarray(0, 100),
  'one byte short': (bytes) => bytes.subarray(0, -1),
  'one byte more': (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]),
  'zeros of the right size': (bytes) => Buffer.alloc(bytes.length),
  'another version': (bytes) => flipped(bytes, MAGIC_BYTES - 2),
  'a size of the identity': (bytes) => flipped(bytes, MAGIC_BYTES + 6),
  'a size of the weights': (bytes) => flipped(bytes, MAGIC_BYTES + 14),
  'another identity': (bytes) => flipped(bytes, MAGIC_BYTES + 20),
  'a checksum': (bytes) => flipped(bytes, checksumsAt(bytes)),
  'the first weight': (bytes) => flipped(bytes, weightsAt(bytes)),
  'the last weight': (bytes) => flipped(bytes, bytes.length - 1),
};

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return copy;
}
const checksumsAt = (bytes: Buffer) => MAGIC_BYTES + 16 + Number(bytes.readBigUInt64LE(MAGIC_BYTES));
const weightsAt = (bytes: Buffer) => bytes.length - Number(bytes.readBigUInt64LE(MAGIC_BYTES + 8));

test('a damaged pack is dropped and made again', async () => {
  const plain = await load(path);
  const [folder, pack] = await storedPack(path);
  const whole = await readFile(pack);
  for (const [name, damage] of Object.entries(damages)) {
    await writeFile(pack, damage(whole));
    const loaded = await load(path, folder, { store: name === 'empty' });
    assert.equal(loaded.pack, 'made', name);
    assertSameRows(loaded.logits, plain.logits, name);
    if (name === 'empty') assert.deepEqual(await readFile(pack), whole, 'stored anew, byte for byte');
    else await assert.rejects(stat(pack), { code: 'ENOENT' }, name);
  }
});

test('a pack that others may write is not read', async () => {
  const [folder, pack] = await storedPack(path);
  await chmod(pack, 0o620);
  assert.equal((await load(path, folder)).pack, 'made');
  await assert.rejects(stat(pack), { code: 'ENOENT' });
});

test('what is no regular file is not read as a pack', async () => {
  const [folder, pack] = await storedPack(path);
  await rename(pack, `${pack}.aside`);
  await symlink(`${pack}.aside`, pack);
  assert.equal((await load(path, folder)).pack, 'made');
  await rm(pack, { force: true });
  await mkdir(pack);
  assert.equal((await load(path, folder)).pack, 'made');
});

test('a forged pack with right checksums computes something else, but harms nothing', async () => {
  // Published test values of the hash.
  assert.equal(xxh64(Buffer.alloc(0)), 0xef46db3751d8e999n);
  assert.equal(xxh64(Buffer.from('abc')), 0x44bc2cf5ad770999n);
  const [folder, pack] = await storedPack(path);
  const forged = await readFile(pack);
  for (const fill of [0xff, 0x7f, 0x80]) {
    const start = weightsAt(forged);
    forged.fill(fill, start);
    for (let piece = 0; start + piece * 2 ** 20 < forged.length; piece += 1) {
      const bytes = forged.subarray(start + piece * 2 ** 20, Math.min(forged.length, start + (piece + 1) * 2 ** 20));
      forged.writeBigUInt64LE(xxh64(bytes), checksumsAt(forged) + 8 * piece);
    }
    await writeFile(pack, forged);
    const kit = await NativeKit.open(path, { packFolder: folder });
    assert.equal(kit.model.info.pack, 'stored', 'the checksums are right');
    const sequence = kit.open(48);
    const { failed } = await kit.step([{ sequence, tokens: prompt, rows: [[39, -1]] }]);
    assert.equal(failed.length, 1);
    await kit.close();
  }
});

test('a folder that can not be written costs the speed-up only', async () => {
  const missing = join(packs, 'missing');
  const kit = await NativeKit.open(path, { packFolder: missing });
  await assert.rejects(kit.model.storePack(), { code: 'pack_not_stored' });
  assertSameRows(await logitsOf(kit, prompt, [40], rows), (await load(path)).logits, 'after the refusal');
  await kit.close();
  await assert.rejects(kit.model.storePack(), { code: 'native_closed' });
});

test('starts at the same time store one whole pack', async () => {
  const folder = await emptyFolder();
  await Promise.all(Array.from({ length: 4 }, () => load(path, folder, { store: true })));
  assert.equal((await readdir(folder)).length, 1);
  assert.equal((await load(path, folder)).pack, 'stored');
});

test('closing while storing leaves nothing half-written', async () => {
  const folder = await emptyFolder();
  const kit = await NativeKit.open(path, { packFolder: folder });
  const storing = kit.model.storePack().catch((error: { code: string }) => error.code);
  await kit.close();
  assert.ok([undefined, 'pack_not_stored', 'native_closed'].includes((await storing) ?? undefined));
  assert.deepEqual(
    (await readdir(folder)).filter((name) => !name.endsWith('.pack')),
    [],
  );
});
