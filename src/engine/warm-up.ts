import type { Tokenizer } from '../model/types.js';
import { greedy } from './greedy.js';
import type { Engine, GenerationRequest } from './types.js';

/** A token after a prompt of one: shorter than a KV block, so nothing of it stays in the prefix cache. */
const WARM_UP_TOKENS = 2;

/**
 * Generates a few tokens and forgets them: the first run reads the weights from disk, starts threads and compiles
 * JavaScript, which the first user shouldn't wait for. Rejects with what the engine fails with.
 */
export async function warmUp(engine: Engine, tokenizer: Tokenizer): Promise<void> {
  const request: GenerationRequest = {
    promptIds: Int32Array.of(tokenizer.bosId ?? 0),
    maxTokens: WARM_UP_TOKENS,
    sampling: greedy,
    stop: [],
    logprobs: null,
    scorePrompt: false,
    ignoreEos: true,
  };
  const controller = new AbortController();
  for (const generation of engine.submit([request], controller.signal)) {
    for await (const _event of generation);
  }
}
