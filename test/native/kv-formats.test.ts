/** KV formats: same bits in every way of computing, sizes, and how far from f16 each may be. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { kvBytesPerToken } from '../../src/model/kv-bytes.js';
import type { KvFormat } from '../../src/native/contract.js';
import { amongOthers, withSharedPrefix } from '../support/native-batches.js';
import { NativeKit } from '../support/native-kit.js';
import { assertLively, assertSameRows, logitsOf, type Rows, randomTokens } from '../support/native-logits.js';
import { architectures, hostLevels, modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  folder = await modelFolder();
});
after(() => folder.remove());

const PROMPT_TOKENS = 530;
const SHORT_TOKENS = 270;
const positions = [0, 15, 16, 37, 255, 256, 269, 511, 512, 529];
const short = positions.filter((position) => position < SHORT_TOKENS);
const kvBlockCount = 192;
/** Head sizes 32, 96 (rotated by thirds of 32) and 48 (of 16, and no whole pair of 16 values). */
const models = ['llama', 'llama untied, rope factors', 'qwen3'];
const quantized: readonly KvFormat[] = ['kv8', 'k8v4', 'kv4'];

/** Root mean square of the differences, against that of the logits themselves. */
function distance(actual: Rows, expected: Rows): number {
  let difference = 0;
  let size = 0;
  for (const [position, row] of expected) {
    for (const [i, value] of row.entries()) {
      difference += ((actual.get(position)?.[i] ?? Number.NaN) - value) ** 2;
      size += value ** 2;
    }
  }
  return Math.sqrt(difference / size);
}

for (const name of models) {
  test(`${name}: same bits in every KV format, and near f16`, async () => {
    const path = await folder.write(name, { ...architectures[name], context: 1024 });
    const plain = await NativeKit.open(path, { threads: 1, activations: 'f32', kvBlockCount });
    const prompt = randomTokens(PROMPT_TOKENS, plain.vocab, 11);
    const exact = await logitsOf(plain, prompt, [128], positions);
    await plain.close();
    const distances = new Map<KvFormat, number>();

    for (const kv of quantized) {
      const one = await NativeKit.open(path, { kv, threads: 1, activations: 'f32', kvBlockCount });
      const expected = await logitsOf(one, prompt, [128], positions);
      await one.close();
      assertLively(expected);
      distances.set(kv, distance(expected, exact));

      const kit = await NativeKit.open(path, { kv, threads: 2, activations: 'f32', kvBlockCount, scatterSeed: 3 });
      for (const chunks of [[1], [16], [511]]) {
        assertSameRows(await logitsOf(kit, prompt, chunks, positions), expected, `${kv}, chunks ${chunks}`);
      }
      assertSameRows(await amongOthers(kit, prompt, positions, 60), expected, `${kv}, among others`);
      assertSameRows(await withSharedPrefix(kit, prompt, positions, 15), expected, `${kv}, shared prefix`);
      await kit.close();

      for (const level of hostLevels.slice(0, -1)) {
        const other = await NativeKit.open(path, { kv, level, threads: 3, activations: 'f32', kvBlockCount });
        const rows = await logitsOf(other, prompt.slice(0, SHORT_TOKENS), [SHORT_TOKENS], short);
        assertSameRows(rows, expected, `${kv}, ${level}`);
        await other.close();
      }
    }
    const of = (kv: KvFormat) => distances.get(kv) ?? Number.NaN;
    // A code's error is up to half a step: 1/510 of the range with 8 bits, 1/30 with 4.
    assert.ok(of('kv8') > 0 && of('kv8') < 0.01, `kv8: ${of('kv8')}`);
    assert.ok(of('kv8') < of('k8v4') && of('k8v4') < of('kv4') && of('kv4') < 0.2, `${of('k8v4')}, ${of('kv4')}`);
  });
}

test('a token takes as many bytes as both sides say', async () => {
  for (const name of models) {
    const path = await folder.write(`${name} sizes`, { ...architectures[name] });
    const { architecture } = await readModelFile(path);
    for (const kv of ['f16', ...quantized] satisfies KvFormat[]) {
      const kit = await NativeKit.open(path, { kv, kvBlockCount: 4 });
      assert.equal(kit.model.info.kvBytes, 4 * 16 * kvBytesPerToken(architecture, kv), `${name}, ${kv}`);
      await kit.close();
    }
  }
});

test('sizes of heads of 64', async () => {
  const path = await folder.write('heads of 64', { hidden: 128, heads: 2, kvHeads: 1 });
  const { architecture } = await readModelFile(path);
  assert.equal(architecture.headDim, 64);
  const perHead = (kv: KvFormat) => kvBytesPerToken(architecture, kv) / architecture.layers / architecture.kvHeads;
  // Keys and values of 64 numbers; below 16 bits, 4 bytes of scale and minimum each.
  assert.equal(perHead('f16'), 256);
  assert.equal(perHead('kv8'), 2 * (64 + 4));
  assert.equal(perHead('k8v4'), 64 + 32 + 8);
  assert.equal(perHead('kv4'), 2 * (32 + 4));
});

test('rotation can be left out for evaluations, and concerns 4 bits alone', async () => {
  const path = await folder.write('unrotated', { ...architectures.llama });
  const rowsOf = async (kv: KvFormat, kvRotates: boolean) => {
    const kit = await NativeKit.open(path, { kv, kvRotates, activations: 'f32', kvBlockCount });
    const rows = await logitsOf(kit, randomTokens(SHORT_TOKENS, kit.vocab, 12), [SHORT_TOKENS], short);
    await kit.close();
    return rows;
  };
  for (const kv of ['f16', 'kv8'] satisfies KvFormat[]) {
    assertSameRows(await rowsOf(kv, false), await rowsOf(kv, true), kv);
  }
  const exact = await rowsOf('f16', true);
  const unrotated = await rowsOf('kv4', false);
  assert.ok(distance(unrotated, await rowsOf('kv4', true)) > 0, 'kv4 is rotated');
  // Random weights have no outliers: both ways are about as near.
  assert.ok(distance(unrotated, exact) < 0.2, `${distance(unrotated, exact)}`);
});
