/** A token's importance, its softmax weight on position 0 summed over the heads: right, and the same bits always. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';
import { architectures, hostLevels, modelFolder } from '../support/native-models.js';
import { runReference } from '../support/python.js';

const TOKENS = 530;
const shapes = ['llama', 'qwen3'] as const;
let models: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  models = await modelFolder();
});
after(() => models.remove());

/** [layer][position], the prompt fed in chunks of these sizes in turn. */
async function importanceOf(
  path: string,
  prompt: readonly number[],
  chunks: readonly number[],
  options: KitOptions,
): Promise<Float32Array[]> {
  const kit = await NativeKit.open(path, { activations: 'f32', scatterSeed: 3, ...options });
  const { layers } = (await readModelFile(path)).architecture;
  const all = Array.from({ length: layers }, () => new Float32Array(prompt.length));
  const sequence = kit.open(prompt.length);
  for (let i = 0; sequence.cachedTokens < prompt.length; i += 1) {
    const start = sequence.cachedTokens;
    const tokens = prompt.slice(start, start + (chunks[Math.min(i, chunks.length - 1)] ?? 1));
    const { importance } = await kit.step([{ sequence, tokens }], { wantImportance: true });
    assert.equal(importance?.length, layers * tokens.length);
    for (const [layer, row] of all.entries()) {
      row.set(importance?.subarray(layer * tokens.length, (layer + 1) * tokens.length) ?? [], start);
    }
  }
  await kit.close();
  return all;
}

for (const name of shapes) {
  test(`${name}: against float64, and equal for all chunks, threads and levels`, async () => {
    const path = await models.write(name, { ...architectures[name], context: 1024 });
    const { vocab, heads } = (await readModelFile(path)).architecture;
    const prompt = randomTokens(TOKENS, vocab, 17);
    const whole = await importanceOf(path, prompt, [512], {});

    const [ids, logits, output] = ['ids.json', 'logits.f64', 'importance.f64'].map((file) => `${path}.${file}`);
    await writeFile(ids ?? '', JSON.stringify(prompt));
    await runReference('graph_numpy.py', [path, ids ?? '', logits ?? '', '--kv-f16', '--importance', output ?? '']);
    const bytes = await readFile(output ?? '');
    const expected = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    assert.equal(expected.length, whole.length * TOKENS);
    for (const [layer, row] of whole.entries()) {
      assert.equal(row[0], heads, 'the first token sees itself alone');
      for (const [position, value] of row.entries()) {
        const wanted = expected[layer * TOKENS + position] ?? Number.NaN;
        // Scores are sums of some dozen products of float32, and keys of rounded f16 may be rounded the other way.
        assert.ok(Math.abs(value / wanted - 1) < 2e-3, `layer ${layer}, position ${position}: ${value} for ${wanted}`);
      }
    }

    // One by one behind position 512 a query's three splits are computed apart.
    const others: [readonly number[], KitOptions][] = [
      [[16, 37, 100], { threads: 1 }],
      [[500, 1], { threads: 3 }],
      ...hostLevels.slice(1, -1).map((level): [number[], KitOptions] => [[300], { level }]),
    ];
    for (const [chunks, options] of others) {
      const found = await importanceOf(path, prompt, chunks, options);
      assert.deepEqual(found, whole, `chunks of ${chunks}, ${JSON.stringify(options)}`);
    }
  });
}
