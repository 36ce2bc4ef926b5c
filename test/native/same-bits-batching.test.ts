/** A sequence's logits have the same bits whatever the batch, chunking, shared prefix and number of threads. */
import { after, before, test } from 'node:test';
import type { ActivationFormat } from '../../src/native/contract.js';
import { amongOthers, withSharedPrefix } from '../support/native-batches.js';
import { NativeKit } from '../support/native-kit.js';
import {
  assertLively,
  assertSameContinuation,
  assertSameRows,
  generate,
  logitsOf,
  randomTokens,
} from '../support/native-logits.js';
import { architectures, modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  folder = await modelFolder();
});
after(() => folder.remove());

/** Three attention splits and a bit. */
const PROMPT_TOKENS = 530;
const positions = [0, 14, 15, 16, 36, 37, 240, 255, 256, 257, 510, 511, 512, 513, 529];
const chunkings = [[1], [16], [37], [511], [512], [3, 200, 1, 52, 255, 19]];

for (const [name, options] of Object.entries(architectures)) {
  for (const activations of ['a8', 'f32'] satisfies ActivationFormat[]) {
    test(`${name}, ${activations}: batch, chunks, prefix, threads`, async () => {
      const path = await folder.write(`${name} ${activations}`, { ...options, context: 1024 });
      const alone = await NativeKit.open(path, { threads: 1, activations, kvBlockCount: 128 });
      const prompt = randomTokens(PROMPT_TOKENS, alone.vocab, 11);
      const expected = await logitsOf(alone, prompt, [128], positions);
      const continuation = await generate(alone, prompt.slice(0, 250), 12, { chunk: 250, previous: false });
      await alone.close();
      assertLively(expected);

      for (const threads of [1, 2, 3]) {
        const kit = await NativeKit.open(path, { threads, activations, kvBlockCount: 192, scatterSeed: threads });
        const what = `${threads} threads`;
        for (const chunks of threads === 2 ? chunkings : [[1], [37], [512]]) {
          assertSameRows(await logitsOf(kit, prompt, chunks, positions), expected, `${what}, chunks ${chunks}`);
        }
        assertSameRows(await amongOthers(kit, prompt, positions, 60), expected, `${what}, among others`);
        assertSameRows(await amongOthers(kit, prompt, positions, 1), expected, `${what}, among others, decoded`);
        assertSameRows(await withSharedPrefix(kit, prompt, positions, 15), expected, `${what}, shared prefix`);
        const again = await generate(kit, prompt.slice(0, 250), 12, { chunk: 63, previous: true });
        assertSameContinuation(again, continuation, `${what}, sampled from the previous step`);
        await kit.close();
      }
    });
  }
}
