/** Guessed tokens through the whole engine, on the fake addon: nobody can tell from the results that there were any. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EngineConfig } from '../../src/engine/engine.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import type { SamplingSpec } from '../../src/native/contract.js';
import { byteTokenizer, type Collected, collect, promptOf, request, startKit, stopKit } from '../support/engine-kit.js';
import { fakeToken, hashIds } from '../support/fake-text.js';

const endId = 250;

/** Repeats what stood 13 tokens before, but now and then says something else: guesses are often right, never always. */
function sample(history: readonly number[], sampling: SamplingSpec): number {
  const hash = hashIds(history, 5);
  if (hash % 61 === 0) return endId;
  if (hash % 7 === 0 || history.length < 13) return fakeToken(history, sampling, 249);
  return history[history.length - 13] as number;
}

function continuation({ promptIds, maxTokens, sampling, ignoreEos }: GenerationRequest): number[] {
  const history = [...promptIds];
  while (history.length < promptIds.length + maxTokens) {
    history.push(sample(history, { ...sampling, promptIds, generatedIds: new Int32Array(0) }));
    if (history.at(-1) === endId && !ignoreEos) break;
  }
  return history.slice(promptIds.length);
}

const prompts = [40, 3, 100, 60, 29, 77];
const requests = prompts.map((count, i) =>
  request(promptOf(count, i), 60 + i, { logprobs: 2, ignoreEos: i % 2 === 0 }),
);

async function run(config: Partial<EngineConfig>, wanted = requests, turns = 1) {
  const stepTokensMax = config.stepTokensMax ?? 512;
  const native = { sample, stepTokensMax, mode: { kind: 'auto', turns } as const };
  const kit = startKit({ config, native, tokenizer: byteTokenizer([endId]) });
  const results = await Promise.all(kit.engine.submit(wanted, new AbortController().signal).map(collect));
  const { speculation, preemptions } = kit.engine.gauges();
  await stopKit(kit);
  return { results, speculation, preemptions, steps: kit.native.stepTokens.length };
}

const tokensOf = (results: readonly Collected[]) => results.map(({ tokenIds }) => tokenIds);

describe('the results are those without guesses', () => {
  const machines: Readonly<Record<string, Partial<EngineConfig>>> = {
    'with room for all': {},
    'one at a time': { sequencesMax: 1 },
    'in short steps': { stepTokensMax: 9, sequencesMax: 4 },
    'without looking ahead': { lookAheadTokensMax: 0 },
    'short of blocks': { kvBlockCount: 14 },
  };
  for (const [name, config] of Object.entries(machines)) {
    it(name, async () => {
      const without = await run(config);
      const guessed = await run({ ...config, speculates: true });
      assert.deepEqual(guessed.results, without.results);
      assert.deepEqual(tokensOf(guessed.results), requests.map(continuation));
      const { drafts, draftTokens, acceptedTokens } = guessed.speculation;
      assert.ok(drafts > 0 && acceptedTokens > 0 && acceptedTokens < draftTokens, JSON.stringify(guessed.speculation));
      assert.deepEqual(without.speculation, { drafts: 0, draftTokens: 0, acceptedTokens: 0 });
      assert.ok(guessed.steps < without.steps, `${guessed.steps} steps instead of ${without.steps}`);
      if (config.kvBlockCount !== undefined) assert.ok(guessed.preemptions > 0);
    });
  }
});

it('nothing behind a stop string is reported or counted', async () => {
  // Letters only, so that a token is a character; the stop string ends within guesses that are right.
  const letters = (history: readonly number[]) => history[history.length - 13] as number;
  const promptIds = promptOf(40, 0).map((id) => 97 + (id % 20));
  const history = [...promptIds];
  while (history.length < 140) history.push(letters(history));
  const text = String.fromCharCode(...history.slice(40));
  const stop = text.slice(8, 60);
  const at = text.indexOf(stop);
  for (const speculates of [false, true]) {
    const kit = startKit({ config: { speculates }, native: { sample: letters } });
    const results = kit.engine.submit([request(promptIds, 100, { stop: [stop] })], new AbortController().signal);
    const [got] = await Promise.all(results.map(collect));
    assert.deepEqual([got?.text, got?.reason, got?.completionTokens], [text.slice(0, at), 'stop', at + 52]);
    if (speculates) assert.ok(kit.native.stepTokens.some((tokens) => tokens > 1 && tokens < 9));
    await stopKit(kit);
  }
});

it('a prompt that is scored is not guessed at', async () => {
  const scored = requests.map((one) => ({ ...one, scorePrompt: true }));
  const { speculation } = await run({ speculates: true }, scored);
  assert.equal(speculation.drafts, 0);
});

it('a row that fails behind a wrong guess fails nobody; one that counts fails its sequence', async () => {
  const [one] = requests;
  assert.ok(one !== undefined);
  const text = [...one.promptIds, ...continuation(one)];
  const isTrue = (history: readonly number[]) => history.every((id, i) => id === text[i]);
  const tokenizer = byteTokenizer([endId]);
  const good = startKit({ config: { speculates: true }, native: { sample, isFailed: (h) => !isTrue(h) }, tokenizer });
  const [generation] = good.engine.submit([one], new AbortController().signal);
  assert.ok(generation !== undefined);
  assert.deepEqual((await collect(generation)).tokenIds, continuation(one));
  await stopKit(good);

  const isFailed = (history: readonly number[]) => history.length === one.promptIds.length + 50;
  const bad = startKit({ config: { speculates: true }, native: { sample, isFailed }, tokenizer });
  const [failing] = bad.engine.submit([one], new AbortController().signal);
  assert.ok(failing !== undefined);
  await assert.rejects(collect(failing), { code: 'not_finite' });
  await stopKit(bad);
});
