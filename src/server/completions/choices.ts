import type { Generation, TokenLogprob } from '../../engine/types.js';
import { completeEvent, cutShort, type OnSequenceEnd, type UsageCounter } from '../generation/usage.js';
import type { LogprobsBody } from '../schemas/completion-response.js';
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

/** What arrives of one sequence, in order. `end` is the last. */
export type ChoicePiece =
  | {
      readonly kind: 'text';
      readonly text: string;
      readonly tokenIds: readonly number[];
      readonly logprobs: LogprobsBody | null;
    }
  | {
      readonly kind: 'end';
      readonly reason: 'stop' | 'length';
      /** Mean log-probability of the generated tokens, by which `best_of` ranks; 0 without tokens. */
      readonly meanLogprob: number;
    };

/** What a sequence reports to, whichever it is. */
export type ChoiceContext = {
  readonly plan: CompletionPlan;
  readonly model: ServedModel;
  readonly usage: UsageCounter;
  readonly onSequenceEnd: OnSequenceEnd;
};

export function promptTokens(plan: CompletionPlan): number {
  return plan.prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0);
}

const sumOf = (logprobs: readonly TokenLogprob[]): number =>
  logprobs.reduce((sum, { logprob }) => sum + (logprob ?? 0), 0);

/**
 * Reads one sequence: the echo first (with the first event, so that nothing is sent while the prompt is computed), then
 * the text as it comes. Throws what the sequence fails with, and `draining` if the engine cut it.
 */
export async function* readChoice(
  context: ChoiceContext,
  index: number,
  generation: Generation,
): AsyncGenerator<ChoicePiece> {
  const { plan, model, usage } = context;
  const prompt = plan.prompts[Math.floor(index / plan.bestOf)];
  const request = plan.requests[index];
  if (prompt === undefined || request === undefined) throw new RangeError(`no choice ${index}`);
  const writer = plan.showLogprobs ? new LogprobsWriter(model.tokenizer) : null;
  const echoText = plan.echo ? (prompt.text ?? model.tokenizer.decode(prompt.ids, true)) : '';
  let echoPending = plan.echo && !request.scorePrompt;
  let [sum, count] = [0, 0];
  for await (const one of generation) {
    const event = completeEvent(one);
    if (echoPending) {
      echoPending = false;
      yield { kind: 'text', text: echoText, tokenIds: [], logprobs: null };
    }
    switch (event.kind) {
      case 'prompt':
        yield {
          kind: 'text',
          text: echoText,
          tokenIds: [],
          logprobs: writer?.writePrompt(event.logprobs, echoText) ?? null,
        };
        break;
      case 'text':
        sum += sumOf(event.logprobs);
        count += event.logprobs.length;
        if (event.text === '' && !plan.showTokenIds && (writer === null || event.logprobs.length === 0)) break;
        yield {
          kind: 'text',
          text: event.text,
          tokenIds: event.tokenIds,
          logprobs: writer?.writeCompletion(event.logprobs) ?? null,
        };
        break;
      case 'end':
        usage.add(event, index % plan.bestOf === 0);
        context.onSequenceEnd(prompt.ids.length, event.cachedTokens);
        yield { kind: 'end', reason: event.reason, meanLogprob: count === 0 ? 0 : sum / count };
        return;
      default:
        event satisfies never;
    }
  }
  throw cutShort();
}
