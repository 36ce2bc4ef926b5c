/** KV blocks out of a model and into other places of another: what reads them afterwards computes the same bits. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { KvFormat } from '../../src/native/contract.js';
import { NativeKit } from '../support/native-kit.js';
import { assertSameRows, prefill, randomTokens } from '../support/native-logits.js';
import { architectures, modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  folder = await modelFolder();
});
after(() => folder.remove());

const SHARED_BLOCKS = 20;
const positions = [SHARED_BLOCKS * 16, 330, 349];

for (const kv of ['f16', 'kv8', 'k8v4', 'kv4'] satisfies KvFormat[]) {
  test(`${kv}: blocks moved to another process continue with the same bits`, async () => {
    const path = await folder.write(`move ${kv}`, { ...architectures.llama });
    const from = await NativeKit.open(path, { kv, kvBlockCount: 37, scatterSeed: 5 });
    const prompt = randomTokens(350, from.vocab, 4);
    const sequence = from.open(prompt.length);
    const expected = await prefill(from, sequence, prompt, [512], positions);
    const shared = Int32Array.from(sequence.blocks.slice(0, SHARED_BLOCKS));
    const content = from.model.readKvBlocks(shared);
    const { kvBlockBytes, kvBytes } = from.model.info;
    assert.equal(content.length, SHARED_BLOCKS * kvBlockBytes);
    assert.equal(kvBytes, 37 * kvBlockBytes);
    await from.close();

    // Other ids, and a pool of another size.
    const to = await NativeKit.open(path, { kv, kvBlockCount: 50, scatterSeed: 9, threads: 1 });
    const other = to.open(prompt.length);
    const target = Int32Array.from(other.blocks.slice(0, SHARED_BLOCKS));
    assert.notDeepEqual(target, shared);
    to.model.writeKvBlocks(target, content);
    assert.deepEqual(to.model.readKvBlocks(target), content);
    other.cachedTokens = SHARED_BLOCKS * 16;
    assertSameRows(await prefill(to, other, prompt, [7], positions), expected, kv);
    await to.close();
  });
}

test('wrong ids, lengths and types are refused, and so is writing under a step', async () => {
  const kit = await NativeKit.open(await folder.write('refused', {}), { kvBlockCount: 8 });
  const { model } = kit;
  const bytes = (blocks: number) => new Uint8Array(blocks * model.info.kvBlockBytes);
  const refused = { code: 'native_invalid_argument' };
  for (const ids of [[-1], [8], [0, 1, 2, 3, 4, 5, 6, 7, 0]]) {
    assert.throws(() => model.readKvBlocks(Int32Array.from(ids)), refused);
    assert.throws(() => model.writeKvBlocks(Int32Array.from(ids), bytes(ids.length)), refused);
  }
  assert.throws(() => model.writeKvBlocks(Int32Array.of(0), bytes(1).subarray(1)), refused);
  assert.throws(() => model.writeKvBlocks(Int32Array.of(0), bytes(2)), refused);
  assert.throws(() => model.readKvBlocks([0] as unknown as Int32Array), refused);
  assert.throws(() => model.writeKvBlocks(Int32Array.of(0), new Float32Array(4) as unknown as Uint8Array), refused);
  assert.equal(model.readKvBlocks(new Int32Array(0)).length, 0);

  const sequence = kit.open(16);
  const step = kit.step([{ sequence, tokens: [1, 2, 3] }]);
  assert.throws(() => model.writeKvBlocks(Int32Array.of(7), bytes(1)), refused);
  await step;
  model.writeKvBlocks(Int32Array.of(7), bytes(1));
  await kit.close();
  assert.throws(() => model.readKvBlocks(Int32Array.of(0)), { code: 'native_closed' });
});

test('NaN in a block fails the sequence that reads it, and nobody else', async () => {
  const kit = await NativeKit.open(await folder.write('nan', {}), { kvBlockCount: 8 });
  const prompt = randomTokens(40, kit.vocab, 1);
  const [bad, good] = [kit.open(40), kit.open(40)];
  for (const sequence of [bad, good]) await prefill(kit, sequence, prompt, [40], []);
  kit.model.writeKvBlocks(Int32Array.of(bad.blocks[0] ?? 0), new Uint8Array(kit.model.info.kvBlockBytes).fill(0x7e));
  const result = await kit.step([
    { sequence: bad, tokens: [5], rows: [[0, -1]] },
    { sequence: good, tokens: [5], rows: [[0, -1]] },
  ]);
  assert.deepEqual([...result.failed], [1, 0]);
  await kit.close();
});
