/** What engine tests share: a tokenizer from a list of byte strings, an engine on the fake addon, readers. */
import assert from 'node:assert/strict';
import { createEngine, type EngineConfig } from '../../src/engine/engine.js';
import { greedy } from '../../src/engine/greedy.js';
import type {
  Engine,
  EngineObserver,
  FinishReason,
  Generation,
  GenerationRequest,
  TokenLogprob,
} from '../../src/engine/types.js';
import type { ConstraintEngine } from '../../src/grammar/grammar-engine.js';
import type { Tokenizer } from '../../src/model/types.js';
import { FakeNative, type FakeOptions } from './fake-native.js';

/** Id i is the i-th piece. Control tokens have no text. */
export function piecesTokenizer(pieces: readonly (string | Uint8Array)[], endIds: readonly number[] = []): Tokenizer {
  const bytes = pieces.map((piece) => (typeof piece === 'string' ? new TextEncoder().encode(piece) : piece));
  const bytesOf = (id: number): Uint8Array => bytes[id] ?? assert.fail(`no token ${id}`);
  return {
    vocabSize: pieces.length,
    bosId: null,
    endIds: new Set(endIds),
    encode: () => assert.fail('the engine never tokenizes'),
    decode: (ids) => new TextDecoder().decode(Buffer.concat(Array.from(ids, bytesOf))),
    tokenBytes: bytesOf,
    tokenText: (id) => new TextDecoder().decode(bytesOf(id)),
    createDetokenizer: () => {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return { push: (id) => decoder.decode(bytesOf(id), { stream: true }), flush: () => decoder.decode() };
    },
  };
}

/** 256 tokens, one a byte; `endIds` end a generation. */
export function byteTokenizer(endIds: readonly number[] = []): Tokenizer {
  return piecesTokenizer(
    Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    endIds,
  );
}

export function request(
  promptIds: ArrayLike<number>,
  maxTokens: number,
  more: Partial<GenerationRequest> = {},
): GenerationRequest {
  return {
    promptIds: Int32Array.from(promptIds),
    maxTokens,
    sampling: greedy,
    stop: [],
    logprobs: null,
    scorePrompt: false,
    ignoreEos: false,
    ...more,
  };
}

/** A prompt of `count` ids that depends on `salt`. */
export function promptOf(count: number, salt: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => (i * 31 + salt * 97 + ((i * i) % 13)) % 256);
}

export type Kit = { readonly engine: Engine; readonly native: FakeNative };

export function startKit(
  more: {
    readonly native?: Partial<FakeOptions>;
    readonly config?: Partial<EngineConfig>;
    readonly tokenizer?: Tokenizer;
    readonly constraints?: ConstraintEngine;
    readonly observer?: EngineObserver;
    readonly now?: () => number;
  } = {},
): Kit {
  const tokenizer = more.tokenizer ?? byteTokenizer();
  const config: EngineConfig = { contextTokensMax: 512, kvBlockCount: 256, checkInvariants: true, ...more.config };
  const native = new FakeNative({
    blockCount: config.kvBlockCount,
    slotCount: config.sequencesMax ?? 64,
    vocab: tokenizer.vocabSize,
    ...more.native,
  });
  const { constraints, observer, now } = more;
  const engine = createEngine({
    model: native,
    tokenizer,
    config,
    ...(constraints === undefined ? {} : { constraints }),
    ...(observer === undefined ? {} : { observer }),
    ...(now === undefined ? {} : { now }),
  });
  return { engine, native };
}

export type Collected = {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[];
  readonly prompt: readonly TokenLogprob[] | null;
  readonly reason: FinishReason;
  readonly completionTokens: number;
  readonly cachedTokens: number;
};

/** Reads a generation to its end, checking the order of its events. */
export async function collect(generation: Generation): Promise<Collected> {
  let text = '';
  const tokenIds: number[] = [];
  const logprobs: TokenLogprob[] = [];
  let prompt: readonly TokenLogprob[] | null = null;
  let end: { reason: FinishReason; completionTokens: number; cachedTokens: number } | null = null;
  for await (const event of generation) {
    assert.equal(end, null, 'nothing follows the end');
    switch (event.kind) {
      case 'prompt':
        assert.equal(prompt, null, 'the prompt is scored once');
        assert.equal(tokenIds.length, 0, 'the prompt comes before text');
        prompt = event.logprobs;
        break;
      case 'text':
        text += event.text;
        tokenIds.push(...event.tokenIds);
        logprobs.push(...event.logprobs);
        break;
      case 'end':
        end = event;
        break;
    }
  }
  assert.ok(end !== null, 'a generation ends');
  const { reason, completionTokens, cachedTokens } = end;
  return { text, tokenIds, logprobs, prompt, reason, completionTokens, cachedTokens };
}

/** Submits one sequence. */
export function submitOne(engine: Engine, one: GenerationRequest, signal = new AbortController().signal): Generation {
  const [generation] = engine.submit([one], signal);
  return generation ?? assert.fail('one request gives one generation');
}

/** Ends the engine and proves that it kept the addon's rules and gave everything back. */
export async function stopKit({ engine, native }: Kit): Promise<void> {
  await engine.drain();
  assert.deepEqual(engine.gauges(), { ...engine.gauges(), running: 0, waiting: 0, kvBlocksUsed: 0 });
  await engine.close();
  assert.deepEqual(native.violations, []);
  assert.equal(native.openSlots, 0);
  assert.ok(native.isClosed);
}

/** Lets everything that is ready happen. */
export async function settleTurns(turns = 3): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}
