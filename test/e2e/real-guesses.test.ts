/** Guessed tokens on the real model: answers and log-probabilities are to the last bit those without. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { createEngine, type EngineConfig } from '../../src/engine/engine.js';
import { greedy } from '../../src/engine/greedy.js';
import { loadNativeModel } from '../../src/engine/open.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { ModelFile, Tokenizer } from '../../src/model/types.js';
import type { KvFormat, NativeModel } from '../../src/native/contract.js';
import { defaultModelPath } from '../support/default-model.js';
import { type Collected, collect, request } from '../support/engine-kit.js';
import { countersOf } from '../support/fake-native.js';

let file: ModelFile;
let tokenizer: Tokenizer;
let requests: readonly GenerationRequest[];

const list = Array.from({ length: 9 }, (_, i) => `${i + 1}. The ${'abcdefghi'[i]} team sold ${i * 37} lamps.`);
const shared = `${list.join('\n')}\n\nThe same list again, word for word:\n`;

before(async () => {
  file = await readModelFile(await defaultModelPath());
  tokenizer = createTokenizer(file.tokenizer);
  const samplings = [
    greedy,
    { ...greedy, temperature: 0.4, seed: 11n },
    { ...greedy, frequencyPenalty: 0.2, presencePenalty: 0.1 },
    { ...greedy, temperature: 0.7, seed: 5n, repetitionPenalty: 1.02, topP: 0.95, choice: 1 },
    { ...greedy, temperature: 0.3, seed: 9n },
  ];
  // Most begin alike and find each other's blocks in the cache.
  requests = Array.from({ length: 10 }, (_, i) => {
    const text = i % 3 === 2 ? `Copy number ${i}.\n${shared}` : shared;
    const promptIds = tokenizer.encode(text, { addSpecialTokens: true, parseSpecial: false });
    const more = { sampling: samplings[i % 5] ?? greedy, logprobs: i % 4, stop: i % 5 === 4 ? ['4. The'] : [] };
    return request(promptIds, 50 + i, { ...more, minTokens: i % 2 === 0 ? 20 : 0 });
  });
});

/** Every step says that it took as long, and no time passes: what is guessed is the same on a busy machine. */
function steady(model: NativeModel): NativeModel {
  const step: NativeModel['step'] = async (batch) => ({
    ...(await model.step(batch)),
    counters: countersOf({ totalNs: 4e6 }),
  });
  return new Proxy(model, {
    get(target, key): unknown {
      if (key === 'step') return step;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function run(kv: KvFormat, more: Partial<EngineConfig>, threads: number) {
  const config = { contextTokensMax: 1024, kvBlockCount: 400, sequencesMax: 10, checkInvariants: true, ...more };
  const model = await loadNativeModel(file, { ...config, threads, activations: 'a8', kv, slotCount: 10 });
  const engine = createEngine({ model: steady(model), tokenizer, config, now: () => 0 });
  const results: Collected[] = await Promise.all(engine.submit(requests, new AbortController().signal).map(collect));
  const gauges = engine.gauges();
  await engine.close();
  return { results: results.map(({ cachedTokens: _, ...result }) => result), ...gauges };
}

for (const kv of ['f16', 'kv4'] satisfies KvFormat[]) {
  test(`${kv}: in company, with prefix hits and preemptions, as one by one without`, async () => {
    const plain = await run(kv, { sequencesMax: 1 }, 1);
    assert.equal(plain.speculation.drafts, 0);
    const guessing = await run(kv, { speculates: true, kvBlockCount: 30, stepTokensMax: 100 }, 2);
    assert.deepEqual(guessing.results, plain.results);
    const { draftTokens, acceptedTokens } = guessing.speculation;
    assert.ok(acceptedTokens > 100 && draftTokens > acceptedTokens + 20, `${acceptedTokens} of ${draftTokens}`);
    assert.ok(guessing.preemptions > 0, 'nobody was preempted');
  });
}
