/** The default model: logits have the same bits whatever the batch, chunks, threads, level, and way of decoding. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { ActivationFormat, IsaLevel } from '../../src/native/contract.js';
import { defaultModelPath } from '../support/default-model.js';
import { amongOthers, withSharedPrefix } from '../support/native-batches.js';
import { NativeKit } from '../support/native-kit.js';
import {
  assertLively,
  assertSameContinuation,
  assertSameRow,
  assertSameRows,
  type Continuation,
  generate,
  logitsOf,
  type Rows,
} from '../support/native-logits.js';
import { hostLevels } from '../support/native-models.js';

const PROMPT_TOKENS = 620;
const SHORT_TOKENS = 300;
const positions = [0, 15, 16, 36, 37, 255, 256, 257, 299, 511, 512, 619];
const upTo = (count: number) => positions.filter((position) => position < count);
const kvBlockCount = 160;
const best = hostLevels.at(-1) ?? 'scalar';

let path: string;
/** English, so that the numbers are those of real use. */
let prompt: number[];

before(async () => {
  path = await defaultModelPath();
  const tokenizer = createTokenizer((await readModelFile(path)).tokenizer);
  const text = await readFile(new URL('../../LICENSE', import.meta.url), 'utf8');
  const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
  prompt = [...ids.subarray(0, PROMPT_TOKENS)];
  assert.equal(prompt.length, PROMPT_TOKENS);
});

test('the comparison sees one bit', () => {
  const row = Float32Array.of(1, 2, 3);
  assertSameRow(row, Float32Array.of(1, 2, 3), 'equal');
  assert.throws(() => assertSameRow(row, Float32Array.of(1, 2, 3 + 2 ** -21), 'one bit'), /logit 2 is 3/);
  assert.throws(() => assertSameRow(Float32Array.of(0), Float32Array.of(-0), 'sign of zero'), /logit 0/);
});

for (const activations of ['a8', 'f32'] satisfies ActivationFormat[]) {
  describe(`default model, ${activations}`, () => {
    let expected: Rows;
    let continuation: Continuation;
    const open = (level: IsaLevel, threads: number, scatterSeed: number) =>
      NativeKit.open(path, { level, threads, activations, kvBlockCount, scatterSeed });

    before(async () => {
      const kit = await open(best, 2, 0);
      expected = await logitsOf(kit, prompt, [256], positions);
      continuation = await generate(kit, prompt.slice(0, 40), 16, { chunk: 40, previous: false });
      await kit.close();
      assertLively(expected);
      assert.ok(new Set(continuation.tokens).size > 4, 'the continuation is no repetition of one token');
    });

    test('chunks, batch, shared prefix, decoding from the previous step; 2 threads', async () => {
      const kit = await open(best, 2, 5);
      for (const chunks of [[16], [37], [511], [512]]) {
        assertSameRows(await logitsOf(kit, prompt, chunks, positions), expected, `chunks of ${chunks}`);
      }
      assertSameRows(
        await logitsOf(kit, prompt.slice(0, SHORT_TOKENS), [1], upTo(SHORT_TOKENS)),
        expected,
        'one by one',
      );
      const among = await amongOthers(kit, prompt.slice(0, SHORT_TOKENS), upTo(SHORT_TOKENS), 47);
      assertSameRows(among, expected, 'among others');
      assertSameRows(await withSharedPrefix(kit, prompt.slice(0, 330), upTo(330), 16), expected, 'shared prefix');
      const again = await generate(kit, prompt.slice(0, 40), 16, { chunk: 13, previous: true });
      assertSameContinuation(again, continuation, 'sampled from the previous step');
      await kit.close();
    });

    for (const threads of [1, 3]) {
      test(`${threads} threads`, async () => {
        const kit = await open(best, threads, 6);
        assertSameRows(await logitsOf(kit, prompt, [512], positions), expected, 'whole prompt');
        const again = await generate(kit, prompt.slice(0, 40), 16, { chunk: 40, previous: true });
        assertSameContinuation(again, continuation, 'sampled');
        await kit.close();
      });
    }

    for (const level of hostLevels.slice(1, -1)) {
      test(`level ${level}`, async () => {
        const kit = await open(level, 2, 7);
        assert.equal(kit.model.info.level, level);
        const wanted = upTo(SHORT_TOKENS);
        assertSameRows(await logitsOf(kit, prompt.slice(0, SHORT_TOKENS), [100], wanted), expected, level);
        const again = await generate(kit, prompt.slice(0, 40), 16, { chunk: 40, previous: true });
        assertSameContinuation(again, continuation, `${level}, sampled`);
        await kit.close();
      });
    }

    test('level scalar, a short prompt', async () => {
      const kit = await open('scalar', 2, 8);
      assert.equal(kit.model.info.level, 'scalar');
      assertSameRows(await logitsOf(kit, prompt.slice(0, 18), [18], upTo(18)), expected, 'scalar');
      await kit.close();
    });
  });
}
