import type { Tokenizer } from '../model/types.js';
import type { Engine } from './types.js';

/** A token after a prompt of one: shorter than a KV block, so nothing of it stays in the prefix cache. */
const WARM_UP_TOKENS = 2;

/**
 * Generates a few tokens and forgets them: the first run reads the weights from disk, starts threads and compiles
 * JavaScript, which the first user shouldn't wait for. Rejects with what the engine fails with.
 */
export async function warmUp(engine: Engine, tokenizer: Tokenizer): Promise<void> {
  const sampling = {
    ...{ temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, choice: 0 },
    ...{ presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
    ...{ biasIds: new Int32Array(0), biasValues: new Float32Array(0) },
  };
  const request = {
    ...{ promptIds: Int32Array.of(tokenizer.bosId ?? 0), maxTokens: WARM_UP_TOKENS, sampling },
    ...{ stop: [], ignoreEos: true, logprobs: null, scorePrompt: false, priority: 0, tenant: '' },
  };
  const controller = new AbortController();
  for (const generation of engine.submit([request], controller.signal)) {
    for await (const _event of generation);
  }
}
