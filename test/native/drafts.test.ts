/** Several tokens of a slot sampled in one step, behind guesses: the same tokens and numbers as one by one. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createSharedMask } from '../../src/grammar/shared-mask.js';
import { type KvFormat, ROW_SAMPLE, type SamplingSpec, TOKEN_FROM_PREVIOUS_STEP } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';
import { NativeKit, type Part, type Sequence } from '../support/native-kit.js';
import { randomTokens, sampled } from '../support/native-logits.js';
import { modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
before(async () => {
  folder = await modelFolder();
  path = await folder.write('tiny', { vocab: 291 });
});
after(() => folder.remove());

const PROMPT_TOKENS = 250;
const TOKENS = 60;
const outputs = { wantLogprobs: true, topCount: 3 };
const prompt = randomTokens(PROMPT_TOKENS, 288, 4);

const samplings: Readonly<Record<string, Partial<SamplingSpec>>> = {
  greedy: {},
  // Without repetition a wrong count of a guess changes what is sampled next.
  'greedy with penalties': { presencePenalty: 2, frequencyPenalty: 1, repetitionPenalty: 1.5 },
  seeded: { temperature: 1.2, seed: 77n },
  'seeded, filters and penalties': sampled(prompt),
  'end tokens forbidden for a while': {
    temperature: 1,
    seed: 3n,
    minTokens: 30,
    endIds: Int32Array.from({ length: 250 }, (_, i) => i),
  },
};

/** What a row said: token, log-probability and alternatives, as text. */
type Said = { readonly token: number; readonly all: string };

function part(sequence: Sequence, tokens: readonly number[], sampledRows: number): Part {
  const rows = Array.from({ length: sampledRows }, (_, i) => [tokens.length - sampledRows + i, ROW_SAMPLE] as const);
  return { sequence, tokens, rows };
}

/** A step of these parts; what each of their rows said. */
async function said(kit: NativeKit, parts: readonly Part[]): Promise<Said[][]> {
  const result = await kit.step(parts, outputs);
  let row = 0;
  return parts.map(({ rows = [] }) =>
    rows.map(() => {
      const { tokens, logprobs, topIds, topLogprobs, failed } = result;
      const top = [...topIds.subarray(3 * row, 3 * row + 3), ...topLogprobs.subarray(3 * row, 3 * row + 3)];
      const token = tokens[row] as number;
      return { token, all: [token, logprobs[row++], ...top, failed[row - 1]].join(' ') };
    }),
  );
}

async function oneByOne(kit: NativeKit, sampling: Partial<SamplingSpec>): Promise<Said[]> {
  const sequence = kit.open(PROMPT_TOKENS + TOKENS, sampling);
  const found: Said[] = [];
  let tokens: readonly number[] = prompt;
  while (found.length < TOKENS) {
    const [[one] = []] = await said(kit, [part(sequence, tokens, 1)]);
    assert.ok(one !== undefined);
    found.push(one);
    tokens = [one.token];
  }
  kit.release(sequence);
  return found;
}

/** Takes steps with up to 9 guesses, of which the first wrong one is chosen at random, and checks every token. */
async function withGuesses(kit: NativeKit, expected: readonly Said[], sampling: Partial<SamplingSpec>): Promise<void> {
  const random = new Random(expected.length + (expected[0]?.token ?? 0));
  const sequence = kit.open(PROMPT_TOKENS + TOKENS + 10, sampling);
  const other = kit.open(PROMPT_TOKENS + TOKENS);
  const [[first] = []] = await said(kit, [part(sequence, prompt, 1)]);
  assert.equal(first?.all, expected[0]?.all);
  let done = 1;
  let wrongOnes = 0;
  while (done < TOKENS - 10) {
    const right = random.below(6);
    const guesses = expected.slice(done, done + right).map(({ token }) => token);
    if (random.below(3) > 0) {
      wrongOnes++;
      guesses.push(((expected[done + right]?.token ?? 0) + 1) % 288, ...randomTokens(random.below(4), 288, done));
    }
    const tokens = [expected[done - 1]?.token ?? 0, ...guesses];
    const start = sequence.cachedTokens;
    const beside = part(other, randomTokens(1 + random.below(3), 288, done), 0);
    const parts =
      random.below(2) === 0 ? [part(sequence, tokens, tokens.length)] : [beside, part(sequence, tokens, tokens.length)];
    const rows = (await said(kit, parts)).at(-1) ?? [];
    const good = right + 1;
    assert.deepEqual(
      rows.slice(0, good).map(({ all }) => all),
      expected.slice(done, done + good).map(({ all }) => all),
      `at token ${done}`,
    );
    done += good;
    sequence.cachedTokens = start + good;
    if (random.below(2) === 0) continue;
    // The token before is the last good one, not the last row's.
    const [[next] = []] = await said(kit, [part(sequence, [TOKEN_FROM_PREVIOUS_STEP], 1)]);
    assert.equal(next?.all, expected[done]?.all, `behind the guesses, at token ${done}`);
    done++;
  }
  assert.ok(wrongOnes > 3);
  kit.release(sequence);
  kit.release(other);
}

for (const [name, sampling] of Object.entries(samplings)) {
  test(`${name}: guesses change nothing`, async () => {
    const kit = await NativeKit.open(path, { kvBlockCount: 100 });
    await withGuesses(kit, await oneByOne(kit, sampling), sampling);
    await kit.close();
  });
}

for (const kv of ['kv8', 'kv4'] satisfies KvFormat[]) {
  test(`${kv}: a wrong guess leaves nothing in the cache`, async () => {
    const kit = await NativeKit.open(path, { kvBlockCount: 100, kv, threads: 1 });
    await withGuesses(kit, await oneByOne(kit, {}), {});
    await kit.close();
  });
}

test('the token of the step before is the last one that counts, also when that step is still in flight', async () => {
  const kit = await NativeKit.open(path, { kvBlockCount: 100 });
  const expected = await oneByOne(kit, {});
  const sequence = kit.open(PROMPT_TOKENS + TOKENS);
  await kit.step([part(sequence, prompt, 1)]);
  const [a, b] = expected.map(({ token }) => token) as [number, number];
  const guessed = said(kit, [part(sequence, [a, (b + 1) % 288, 5], 3)]);
  sequence.cachedTokens -= 2;
  const behind = said(kit, [part(sequence, [TOKEN_FROM_PREVIOUS_STEP], 1)]);
  assert.equal((await guessed)[0]?.[0]?.all, expected[1]?.all);
  assert.equal((await behind)[0]?.[0]?.all, expected[2]?.all);
  await kit.close();
});

test('a constrained slot samples one token a step', async () => {
  const kit = await NativeKit.open(path);
  const sequence = kit.open(80, { mask: createSharedMask(kit.vocab) });
  await assert.rejects(kit.step([part(sequence, [1, 2, 3], 2)]), { code: 'native_invalid_argument' });
  await kit.close();
});
