/** Sampling under masks: what may be drawn, and what happens when a mask isn't there in time. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createSharedMask, endMasks, writeMask } from '../../src/grammar/shared-mask.js';
import { type IsaLevel, ROW_SAMPLE, ROW_WITHOUT_MASK } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { Random } from '../../src/random.js';
import { NativeKit, type Sequence } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';
import { modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
before(async () => {
  folder = await modelFolder();
  path = await folder.write('tiny', { vocab: 291 });
});
after(() => folder.remove());

const prompt = randomTokens(40, 288, 1);
const sample = (sequence: Sequence, tokens: ArrayLike<number>) => ({
  sequence,
  tokens,
  rows: [[tokens.length - 1, ROW_SAMPLE] as const],
});

function maskOf(allowed: readonly number[], vocab: number): Int32Array {
  const mask = new Int32Array(Math.ceil(vocab / 32));
  for (const id of allowed) mask[id >> 5] = (mask[id >> 5] as number) | (1 << (id & 31));
  return mask;
}

/** The allowed token with the largest logit; the lowest id of equals. */
const bestOf = (allowed: readonly number[], logits: Float32Array): number =>
  allowed.reduce((best, id) => ((logits[id] as number) > (logits[best] as number) ? id : best));

const pick = (random: Random, vocab: number): number[] =>
  [...new Set(Array.from({ length: 1 + random.below(9) }, () => random.below(vocab)))].sort((a, b) => a - b);

for (const level of loadAddon().cpuInfo().levels as readonly IsaLevel[]) {
  test(`${level}: greedy takes the best of the allowed tokens; log-probabilities are of all`, async () => {
    const kit = await NativeKit.open(path, { level });
    const mask = createSharedMask(kit.vocab);
    const sequence = kit.open(80, { mask });
    const free = kit.open(80);
    const random = new Random(7);
    let tokens: ArrayLike<number> = prompt;
    for (let position = 0; position < 12; position++) {
      const allowed = pick(random, kit.vocab);
      writeMask(mask, position, maskOf(allowed, kit.vocab));
      const parts = [sample(sequence, tokens), sample(free, tokens)];
      const result = await kit.step(parts, { wantLogits: true, wantLogprobs: true });
      const logits = (result.logits ?? new Float32Array()).subarray(0, kit.vocab);
      assert.equal(result.tokens[0], bestOf(allowed, logits), `position ${position}`);
      assert.equal(result.tokens[1], logits.indexOf(Math.max(...logits)), 'its neighbour is free');
      const sum = logits.reduce((total, x) => total + Math.exp(x), 0);
      const expected = (logits[result.tokens[0] as number] as number) - Math.log(sum);
      assert.ok(Math.abs((result.logprobs[0] as number) - expected) < 1e-4);
      tokens = [result.tokens[0] as number];
    }
    await kit.close();
  });
}

test('a mask that is late leaves the row out, and what was queued behind it; afterwards nothing differs', async () => {
  const kit = await NativeKit.open(path);
  const allowed = [[3, 60, 200], [17], [5, 9, 280]];
  const run = async (isLate: boolean): Promise<number[]> => {
    const shared = createSharedMask(kit.vocab);
    const sequence = kit.open(80, { mask: shared, temperature: 1, seed: 5n });
    const tokens: number[] = [];
    let input: ArrayLike<number> = prompt;
    for (const [position, ids] of allowed.entries()) {
      const mask = maskOf(ids, kit.vocab);
      if (!isLate) writeMask(shared, position, mask);
      const first = kit.step([sample(sequence, input)]);
      if (isLate) {
        const second = kit.step([sample(sequence, [-1])]);
        assert.deepEqual([...(await first).failed], [ROW_WITHOUT_MASK]);
        // It comes in time for the step behind, which must not take it: its input was never sampled.
        writeMask(shared, position, mask);
        assert.deepEqual([...(await second).failed], [ROW_WITHOUT_MASK]);
        sequence.cachedTokens -= 2;
      }
      const last = isLate ? [input[input.length - 1] as number] : null;
      const result = await (last === null ? first : kit.step([sample(sequence, last)]));
      assert.deepEqual([...result.failed], [0]);
      tokens.push(result.tokens[0] as number);
      input = [result.tokens[0] as number];
    }
    kit.release(sequence);
    return tokens;
  };
  const inTime = await run(false);
  assert.ok(inTime.every((token, i) => allowed[i]?.includes(token)));
  assert.deepEqual(await run(true), inTime);
  await kit.close();
});

test('a step waits for a mask that comes while it runs, or leaves the row out; it never samples freely', async () => {
  const kit = await NativeKit.open(path);
  const mask = createSharedMask(kit.vocab);
  const sequence = kit.open(600, { mask });
  const running = kit.step([sample(sequence, randomTokens(500, 288, 2))]);
  writeMask(mask, 0, maskOf([42], kit.vocab));
  const { failed, tokens } = await running;
  assert.ok(failed[0] === ROW_WITHOUT_MASK || tokens[0] === 42);
  await kit.close();
});

test('a mask of another position is none, nor is one behind the end', async () => {
  const kit = await NativeKit.open(path);
  const mask = createSharedMask(kit.vocab);
  const sequence = kit.open(80, { mask });
  for (const spoil of [() => writeMask(mask, 1, maskOf([42], kit.vocab)), () => endMasks(mask)]) {
    spoil();
    assert.deepEqual([...(await kit.step([sample(sequence, prompt)])).failed], [ROW_WITHOUT_MASK]);
    sequence.cachedTokens = 0;
  }
  await kit.close();
});

test('a place for masks that is too small, or that can be taken away, is refused', async () => {
  const kit = await NativeKit.open(path);
  const good = createSharedMask(kit.vocab);
  const wrong = [new Int32Array(good.length), good.subarray(1), good.subarray(0, 0), createSharedMask(kit.vocab + 32)];
  for (const mask of [
    ...wrong,
    new Float32Array(good.buffer) as unknown as Int32Array,
    null as unknown as Int32Array,
  ]) {
    assert.throws(() => kit.open(16, { mask }), { code: 'native_invalid_argument' });
  }
  kit.release(kit.open(16, { mask: good }));
  await kit.close();
});
