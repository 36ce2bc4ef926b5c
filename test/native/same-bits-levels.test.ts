/** The logits of generated models have the same bits on every instruction-set level, architecture by architecture. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ActivationFormat } from '../../src/native/contract.js';
import { NativeKit } from '../support/native-kit.js';
import {
  assertLively,
  assertSameContinuation,
  assertSameRows,
  generate,
  logitsOf,
  randomTokens,
} from '../support/native-logits.js';
import { architectures, hostLevels, modelFolder, ownModels, weightModels } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  folder = await modelFolder();
});
after(() => folder.remove());

/** Crosses the border of the first two attention splits and of several KV blocks. */
const PROMPT_TOKENS = 270;
const positions = [0, 1, 15, 16, 17, 63, 128, 255, 256, 257, 269];

for (const [name, options] of Object.entries({ ...architectures, ...weightModels, ...ownModels })) {
  for (const activations of ['a8', 'f32'] satisfies ActivationFormat[]) {
    test(`${name}, ${activations}: levels ${hostLevels.join(', ')}`, async () => {
      const path = await folder.write(`${name} ${activations}`, options);
      const reference = await NativeKit.open(path, { level: 'scalar', threads: 1, activations });
      const prompt = randomTokens(PROMPT_TOKENS, reference.vocab, 7);
      const expected = await logitsOf(reference, prompt, [100], positions);
      const continuation = await generate(reference, prompt.slice(0, 20), 8, { chunk: 7, previous: false });
      await reference.close();
      assertLively(expected);

      for (const level of hostLevels.slice(1)) {
        const kit = await NativeKit.open(path, { level, threads: 2, activations, scatterSeed: 3 });
        assert.equal(kit.model.info.level, level);
        const what = `${name}, ${activations}, ${level}`;
        assertSameRows(await logitsOf(kit, prompt, [270], positions), expected, what);
        const other = await generate(kit, prompt.slice(0, 20), 8, { chunk: 20, previous: true });
        assertSameContinuation(other, continuation, `${what}, sampled`);
        await kit.close();
      }
    });
  }
}
