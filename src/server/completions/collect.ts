import type { Generation } from '../../engine/types.js';
import type { CompletionBody, LogprobsBody } from '../schemas/completion-response.js';
import type { ServedModel } from '../served-model.js';
import { type ChoicePiece, type OnSequenceEnd, type ResponseHead, readChoice, UsageCounter } from './choices.js';
import { appendLogprobs } from './logprobs.js';
import type { CompletionPlan } from './plan.js';

type ChoiceBody = CompletionBody['choices'][number];

async function collectChoice(pieces: AsyncGenerator<ChoicePiece>, index: number): Promise<ChoiceBody> {
  const texts: string[] = [];
  let logprobs: LogprobsBody | null = null;
  for await (const piece of pieces) {
    if (piece.kind === 'end') return { text: texts.join(''), index, logprobs, finish_reason: piece.reason };
    texts.push(piece.text);
    if (piece.logprobs === null) continue;
    if (logprobs === null) logprobs = piece.logprobs;
    else appendLogprobs(logprobs, piece.logprobs);
  }
  throw new RangeError('a choice ended without an end');
}

/** Waits for every choice and builds the whole response. Rejects with the first failure. */
export async function collectCompletion(
  head: ResponseHead,
  plan: CompletionPlan,
  generations: readonly Generation[],
  model: ServedModel,
  onSequenceEnd: OnSequenceEnd,
): Promise<CompletionBody> {
  const usage = new UsageCounter(plan);
  const choices = await Promise.all(
    generations.map((generation, index) =>
      collectChoice(readChoice(plan, index, generation, model, usage, onSequenceEnd), index),
    ),
  );
  return { ...head, choices, usage: usage.body() };
}
