import type { Generation } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import type { LogprobsBody, UsageBody } from '../schemas/completion-response.js';
import type { ServedModel } from '../served-model.js';
import { LogprobsWriter } from './logprobs.js';
import type { CompletionPlan } from './plan.js';

/** What is common to all objects of one response. */
export type ResponseHead = {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly system_fingerprint: string;
};

/** What arrives of one choice, in order. `end` is the last. */
export type ChoicePiece =
  | { readonly kind: 'text'; readonly text: string; readonly logprobs: LogprobsBody | null }
  | { readonly kind: 'end'; readonly reason: 'stop' | 'length' };

/** Tokens of a response, counted while its choices end. Prompts count once, however many choices they have. */
export class UsageCounter {
  readonly #promptTokens: number;
  #completionTokens = 0;
  #cachedTokens = 0;

  constructor(plan: CompletionPlan) {
    this.#promptTokens = plan.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
  }

  add(completionTokens: number, cachedTokens: number): void {
    this.#completionTokens += completionTokens;
    this.#cachedTokens += cachedTokens;
  }

  body(): UsageBody {
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: this.#promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: this.#cachedTokens },
    };
  }
}

/** Called when a sequence has ended: tokens of its prompt, and how many of them were found in the prefix cache. */
export type OnSequenceEnd = (promptTokens: number, cachedTokens: number) => void;

/**
 * Reads one choice: the echo first (with the first event, so that nothing is sent while the prompt is computed), then
 * the text as it comes. Throws what the sequence fails with, and `draining` if the engine cut it.
 */
export async function* readChoice(
  plan: CompletionPlan,
  index: number,
  generation: Generation,
  model: ServedModel,
  usage: UsageCounter,
  onSequenceEnd: OnSequenceEnd,
): AsyncGenerator<ChoicePiece> {
  const prompt = plan.prompts[Math.floor(index / plan.n)];
  const request = plan.requests[index];
  if (prompt === undefined || request === undefined) throw new RangeError(`no choice ${index}`);
  const writer = request.logprobs === null ? null : new LogprobsWriter(model.tokenizer);
  const echoText = plan.echo ? (prompt.text ?? model.tokenizer.decode(prompt.ids, true)) : '';
  let echoPending = plan.echo && !request.scorePrompt;
  for await (const event of generation) {
    if (echoPending) {
      echoPending = false;
      yield { kind: 'text', text: echoText, logprobs: null };
    }
    switch (event.kind) {
      case 'prompt':
        yield { kind: 'text', text: echoText, logprobs: writer?.writePrompt(event.logprobs, echoText) ?? null };
        break;
      case 'text':
        if (event.text === '' && (writer === null || event.logprobs.length === 0)) break;
        yield { kind: 'text', text: event.text, logprobs: writer?.writeCompletion(event.logprobs) ?? null };
        break;
      case 'end':
        if (event.reason === 'abort') throw new NibbleError('draining', {}, { retryAfterSeconds: 1 });
        usage.add(event.completionTokens, index % plan.n === 0 ? event.cachedTokens : 0);
        onSequenceEnd(prompt.ids.length, event.cachedTokens);
        yield { kind: 'end', reason: event.reason };
        return;
      default:
        event satisfies never;
    }
  }
  throw new NibbleError('engine_failed', { message: 'a sequence ended without a reason' });
}
