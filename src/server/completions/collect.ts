import type { Generation } from '../../engine/types.js';
import { type OnSequenceEnd, UsageCounter } from '../generation/usage.js';
import type { CompletionBody, LogprobsBody } from '../schemas/completion-response.js';
import type { ServedModel } from '../served-model.js';
import { type ChoicePiece, promptTokens, type ResponseHead, readChoice } from './choices.js';
import { appendLogprobs } from './logprobs.js';
import type { CompletionPlan } from './plan.js';

type ChoiceBody = CompletionBody['choices'][number];
type Collected = {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly logprobs: LogprobsBody | null;
  readonly reason: 'stop' | 'length';
  readonly meanLogprob: number;
};

async function collectChoice(pieces: AsyncGenerator<ChoicePiece>): Promise<Collected> {
  const texts: string[] = [];
  const tokenIds: number[] = [];
  let logprobs: LogprobsBody | null = null;
  for await (const piece of pieces) {
    if (piece.kind === 'end') {
      return { text: texts.join(''), tokenIds, logprobs, reason: piece.reason, meanLogprob: piece.meanLogprob };
    }
    texts.push(piece.text);
    for (const id of piece.tokenIds) tokenIds.push(id);
    if (piece.logprobs === null) continue;
    if (logprobs === null) logprobs = piece.logprobs;
    else appendLogprobs(logprobs, piece.logprobs);
  }
  throw new RangeError('a choice ended without an end');
}

/** The `n` likeliest of one prompt's sequences, best first; of equals the earlier. All of them keep their order. */
function best(sequences: readonly Collected[], n: number): readonly Collected[] {
  if (sequences.length === n) return sequences;
  return sequences.toSorted((a, b) => b.meanLogprob - a.meanLogprob).slice(0, n);
}

/** Waits for every sequence and builds the whole response. Rejects with the first failure. */
export async function collectCompletion(
  head: ResponseHead,
  plan: CompletionPlan,
  generations: readonly Generation[],
  model: ServedModel,
  onSequenceEnd: OnSequenceEnd,
): Promise<CompletionBody> {
  const usage = new UsageCounter(promptTokens(plan), plan.requests, model.costs);
  const context = { plan, model, usage, onSequenceEnd };
  const sequences = await Promise.all(
    generations.map((generation, index) => collectChoice(readChoice(context, index, generation))),
  );
  const choices = plan.prompts.flatMap((prompt, at) => {
    const own = sequences.slice(at * plan.bestOf, (at + 1) * plan.bestOf);
    return best(own, plan.n).map(({ text, tokenIds, logprobs, reason }, rank): ChoiceBody => {
      const choice: ChoiceBody = { text, index: at * plan.n + rank, logprobs, finish_reason: reason };
      if (!plan.showTokenIds) return choice;
      return { ...choice, token_ids: [...tokenIds], prompt_token_ids: [...prompt.ids] };
    });
  });
  return { ...head, choices, usage: usage.body() };
}
