import type { Generation } from '../../engine/types.js';
import type { CompletionChunk } from '../schemas/completion-response.js';
import type { ServedModel } from '../served-model.js';
import { type OnSequenceEnd, type ResponseHead, readChoice, UsageCounter } from './choices.js';
import type { CompletionPlan } from './plan.js';
import type { SseStream } from './sse.js';

/**
 * Sends every choice as it grows, interleaved, then the usage if it was asked for. A choice whose client reads slowly
 * waits here; the engine merges what it makes meanwhile. Rejects with the first failure; the caller ends the stream.
 */
export async function streamCompletion(
  sse: SseStream,
  head: ResponseHead,
  plan: CompletionPlan,
  generations: readonly Generation[],
  model: ServedModel,
  onSequenceEnd: OnSequenceEnd,
): Promise<void> {
  const usage = new UsageCounter(plan);
  const noUsage = plan.includeUsage ? { usage: null } : {};
  const sendChoice = async (generation: Generation, index: number): Promise<void> => {
    for await (const piece of readChoice(plan, index, generation, model, usage, onSequenceEnd)) {
      const isEnd = piece.kind === 'end';
      const choice = isEnd
        ? { text: '', index, logprobs: null, finish_reason: piece.reason }
        : { text: piece.text, index, logprobs: piece.logprobs, finish_reason: null };
      const chunk: CompletionChunk = { ...head, choices: [choice], ...noUsage };
      await sse.send(chunk);
    }
  };
  await Promise.all(generations.map(sendChoice));
  if (plan.includeUsage) {
    const chunk: CompletionChunk = { ...head, choices: [], usage: usage.body() };
    await sse.send(chunk);
  }
}
