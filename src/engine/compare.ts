/** How far two models agree about a text that one of them wrote. */
import { NibbleError } from '../errors.js';
import { greedy } from './greedy.js';
import type { Compared } from './rollout-report.js';
import type { Engine, GenerationRequest, TokenLogprob } from './types.js';

/** After everybody else: nobody waits for a comparison. */
const PRIORITY_LAST = 100;

/** A token that a model holds for impossible would make the whole perplexity infinite. */
const LOGPROB_MIN = -100;

function scoring(ids: Int32Array, cacheScope: number): GenerationRequest {
  return {
    promptIds: ids,
    maxTokens: 0,
    sampling: greedy,
    stop: [],
    logprobs: 1,
    scorePrompt: true,
    ignoreEos: true,
    priority: PRIORITY_LAST,
    tenant: 'comparison',
    cacheScope,
  };
}

/** What a model thinks of the tokens from `start` on. Rejects with what the sequence fails with. */
async function score(
  engine: Engine,
  ids: Int32Array,
  start: number,
  cacheScope: number,
  signal: AbortSignal,
): Promise<TokenLogprob[]> {
  const [generation] = engine.submit([scoring(ids, cacheScope)], signal);
  let found: TokenLogprob[] = [];
  if (generation !== undefined) {
    for await (const event of generation) if (event.kind === 'prompt') found = event.logprobs.slice(start);
  }
  if (found.length === ids.length - start) return found;
  throw new NibbleError('engine_failed', { message: 'a comparison was cut short' });
}

/**
 * Reads a prompt and its answer with both models, which costs each a prefill. What is compared is what they find
 * likeliest at each token, so it doesn't matter how the answer was sampled. Rejects if one can't
 * (`context_length_exceeded`, `queue_full`, `draining`, …). `cacheScope`: that of the request, whose text it is.
 */
export async function compareAnswer(
  baseline: Engine,
  candidate: Engine,
  promptIds: Int32Array,
  answerIds: readonly number[],
  cacheScope: number,
  signal: AbortSignal,
): Promise<Compared> {
  const ids = new Int32Array(promptIds.length + answerIds.length);
  ids.set(promptIds);
  ids.set(answerIds, promptIds.length);
  const scores = (engine: Engine) => score(engine, ids, promptIds.length, cacheScope, signal);
  const [ours, theirs] = await Promise.all([scores(baseline), scores(candidate)]);
  const likeliest = ({ top }: TokenLogprob) => top[0]?.tokenId;
  const total = (found: readonly TokenLogprob[]) =>
    found.reduce((sum, { logprob }) => sum + Math.max(LOGPROB_MIN, logprob ?? 0), 0);
  return {
    tokens: answerIds.length,
    agreeing: ours.filter((own, i) => likeliest(own) === likeliest(theirs[i] ?? own)).length,
    baselineLogprob: total(ours),
    candidateLogprob: total(theirs),
  };
}
