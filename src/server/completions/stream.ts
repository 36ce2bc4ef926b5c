import type { Generation } from '../../engine/types.js';
import type { SseStream } from '../generation/sse.js';
import { type OnSequenceEnd, UsageCounter } from '../generation/usage.js';
import type { CompletionChunk } from '../schemas/completion-response.js';
import type { ServedModel } from '../served-model.js';
import { type ChoicePiece, promptTokens, type ResponseHead, readChoice } from './choices.js';
import type { CompletionPlan } from './plan.js';

type ChunkChoice = CompletionChunk['choices'][number];

/** The ids of a chunk; those of the prompt come with the first chunk of a choice. */
function idsOf(plan: CompletionPlan, index: number, piece: ChoicePiece, isFirst: boolean): Partial<ChunkChoice> {
  if (!plan.showTokenIds) return {};
  const prompt = isFirst ? plan.prompts[Math.floor(index / plan.n)] : undefined;
  return {
    token_ids: piece.kind === 'text' ? [...piece.tokenIds] : [],
    ...(prompt === undefined ? {} : { prompt_token_ids: [...prompt.ids] }),
  };
}

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
  const usage = new UsageCounter(promptTokens(plan), plan.requests, model.costs);
  const noUsage = plan.includeUsage ? { usage: null } : {};
  const context = { plan, model, usage, onSequenceEnd };
  const sendChoice = async (generation: Generation, index: number): Promise<void> => {
    let isFirst = true;
    for await (const piece of readChoice(context, index, generation)) {
      const said =
        piece.kind === 'end'
          ? { text: '', index, logprobs: null, finish_reason: piece.reason }
          : { text: piece.text, index, logprobs: piece.logprobs, finish_reason: null };
      const choice: ChunkChoice = { ...said, ...idsOf(plan, index, piece, isFirst) };
      isFirst = false;
      const chunk: CompletionChunk = { ...head, choices: [choice], ...noUsage };
      const sent = sse.send(chunk);
      if (sent !== undefined) await sent;
    }
  };
  await Promise.all(generations.map(sendChoice));
  if (plan.includeUsage) {
    const chunk: CompletionChunk = { ...head, choices: [], usage: usage.body() };
    await sse.send(chunk);
  }
}
