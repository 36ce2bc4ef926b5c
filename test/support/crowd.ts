/** 64 requests of every kind, run alone and at once through the engine: what they get must be the same to the bit. */
import assert from 'node:assert/strict';
import { createEngine, type EngineConfig } from '../../src/engine/engine.js';
import { greedy } from '../../src/engine/greedy.js';
import { loadNativeModel } from '../../src/engine/open.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import { KV_BLOCK_TOKENS } from '../../src/limits.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { Tokenizer } from '../../src/model/types.js';
import type { KvFormat, NativeModel } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';
import { type Collected, collect, piecesTokenizer, request, submitOne } from './engine-kit.js';

export const CROWD = 64;

export type CrowdSizes = { readonly promptTokensMax: number; readonly newTokensMax: number };

/**
 * Prompts of one token to `promptTokensMax`, greedy and sampled, a few with scores of their prompt. `shared`: half of
 * the longer prompts begin in one of two ways, with 40 or 100 common tokens; otherwise no two begin alike.
 */
export function crowdRequests(vocab: number, sizes: CrowdSizes, shared: boolean): GenerationRequest[] {
  const random = new Random(shared ? 21 : 20);
  const ids = (count: number) => Array.from({ length: count }, () => random.below(vocab));
  const beginnings = [ids(40), ids(100)];
  return Array.from({ length: CROWD }, (_, i) => {
    const own = ids(1 + (i === 0 ? 0 : random.below(sizes.promptTokensMax)));
    // The number of the request, so that no first block is another's by chance.
    own[0] = i;
    const begin = shared && i % 2 === 0 ? (beginnings[(i >> 1) % 2] ?? []) : [];
    const sampling = {
      ...greedy,
      ...(i % 3 === 0 ? {} : { temperature: 0.6 + random.uniform(), topP: 0.95, repetitionPenalty: 1.1 }),
      seed: BigInt(i),
    };
    return request([...begin, ...own], 1 + random.below(sizes.newTokensMax), {
      sampling,
      logprobs: i % 4,
      scorePrompt: i % 8 === 5,
      ignoreEos: true,
    });
  });
}

/** What a request gets; how much of it came from the cache is no part of that. */
export type Answer = Omit<Collected, 'cachedTokens'>;

/** A model loaded once, and engines on it that begin with an empty prefix cache. */
export class CrowdModel {
  private readonly model: NativeModel;
  private readonly contextTokensMax: number;
  private readonly kvBlockCount: number;
  private readonly tokenizer: Tokenizer;

  private constructor(model: NativeModel, vocab: number, contextTokensMax: number, kvBlockCount: number) {
    this.model = model;
    this.contextTokensMax = contextTokensMax;
    this.kvBlockCount = kvBlockCount;
    this.tokenizer = piecesTokenizer(Array.from({ length: vocab }, (_, id) => `<${id}>`));
  }

  static async load(path: string, kv: KvFormat, contextTokensMax: number, kvTokens: number): Promise<CrowdModel> {
    const file = await readModelFile(path);
    const kvBlockCount = kvTokens / KV_BLOCK_TOKENS;
    const sizes = { contextTokensMax, kvBlockCount, slotCount: CROWD };
    const model = await loadNativeModel(file, { threads: 2, activations: 'a8', kv, ...sizes });
    return new CrowdModel(model, file.architecture.vocab, contextTokensMax, kvBlockCount);
  }

  close(): Promise<void> {
    return this.model.close();
  }

  private engine(config: Partial<EngineConfig>) {
    const { model, contextTokensMax, kvBlockCount, tokenizer } = this;
    // Not closed afterwards: that would close the model.
    return createEngine({
      model,
      tokenizer,
      config: { contextTokensMax, kvBlockCount, sequencesMax: CROWD, checkInvariants: true, ...config },
    });
  }

  /** Each request by itself, on an engine that has seen nothing. */
  async alone(requests: readonly GenerationRequest[]): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (const one of requests) {
      const engine = this.engine({});
      const { cachedTokens, ...answer } = await collect(submitOne(engine, one));
      await engine.drain();
      assert.equal(cachedTokens, 0);
      answers.push(answer);
    }
    return answers;
  }

  /** All at once, `rounds` times on one engine: what the first round left in the cache is there for the next. */
  async together(requests: readonly GenerationRequest[], config: Partial<EngineConfig>, rounds = 1) {
    const engine = this.engine(config);
    const results: { readonly answers: Answer[]; readonly cachedTokens: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const all = await Promise.all(engine.submit(requests, new AbortController().signal).map(collect));
      const cachedTokens = all.reduce((sum, one) => sum + one.cachedTokens, 0);
      results.push({ cachedTokens, answers: all.map(({ cachedTokens: _, ...answer }) => answer) });
    }
    await engine.drain();
    const { preemptions, kvBlocksUsed } = engine.gauges();
    assert.equal(kvBlocksUsed, 0);
    return { rounds: results, preemptions };
  }
}

/** Names the request that differs first: two lists of 64 answers are too long to read. */
export function assertSameAnswers(actual: readonly Answer[], expected: readonly Answer[], what: string): void {
  assert.equal(actual.length, expected.length);
  for (const [i, answer] of actual.entries()) assert.deepEqual(answer, expected[i], `${what}: request ${i}`);
}
