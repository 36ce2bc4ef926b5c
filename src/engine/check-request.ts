import { NibbleError } from '../errors.js';
import type { Refusal } from '../scheduler/types.js';
import type { GenerationRequest } from './types.js';

/** Whole seconds for `Retry-After`, within what is worth saying. */
export function retrySeconds(waitMs: number): number {
  return Math.min(Math.max(1, Math.ceil(waitMs / 1000)), 600);
}

/**
 * Checks what would otherwise make the addon reject a whole step, other sequences included. Throws `invalid_request`.
 */
export function checkRequests(requests: readonly GenerationRequest[], vocabSize: number): void {
  let checked: Int32Array | null = null;
  for (const { promptIds, maxTokens, logprobs, scorePrompt, pruning } of requests) {
    if (promptIds.length === 0) throw invalid('The prompt is empty.', 'prompt');
    if (!(maxTokens >= 0)) throw invalid('max_tokens must be at least 0.', 'max_tokens');
    if (Number.isFinite(maxTokens) && !Number.isInteger(maxTokens)) {
      throw invalid('max_tokens must be an integer.', 'max_tokens');
    }
    if (logprobs !== null && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= 20)) {
      throw invalid('logprobs must be an integer from 0 to 20.', 'logprobs');
    }
    if (scorePrompt && pruning !== undefined) {
      throw invalid(
        'A prompt that is pruned has no log-probabilities; with "token_pruning": {"keep": 1} it is not.',
        'token_pruning',
      );
    }
    // The choices of one request share their prompt array.
    if (promptIds !== checked) checkIds(promptIds, vocabSize);
    checked = promptIds;
  }
}

function checkIds(ids: Int32Array, vocabSize: number): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    if (id < 0 || id >= vocabSize) {
      throw invalid(`Token id ${id} at position ${i} is outside the vocabulary of ${vocabSize} tokens.`, 'prompt');
    }
  }
}

function invalid(message: string, param: string): NibbleError {
  return new NibbleError('invalid_request', { message }, { param });
}

/** `waitMs`: the estimate of when there will be room. */
export function refusalError(refusal: Refusal, waitMs: number): NibbleError {
  switch (refusal.kind) {
    case 'prompt_too_long': {
      const { promptTokens, limitTokens } = refusal;
      return new NibbleError('context_length_exceeded', { promptTokens, limitTokens }, { param: 'prompt' });
    }
    case 'never_fits': {
      const { neededTokens, capacityTokens } = refusal;
      return new NibbleError('kv_capacity_exceeded', { neededTokens, capacityTokens }, { param: 'max_tokens' });
    }
    case 'queue_full':
      return new NibbleError('queue_full', { waiting: refusal.waiting }, { retryAfterSeconds: retrySeconds(waitMs) });
    default:
      return refusal satisfies never;
  }
}
