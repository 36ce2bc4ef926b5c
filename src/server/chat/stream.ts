import type { Generation } from '../../engine/types.js';
import type { SseStream } from '../generation/sse.js';
import { UsageCounter } from '../generation/usage.js';
import type { ChatChunk, ChatDelta } from '../schemas/chat-response.js';
import { type ChatContext, type ChatPiece, readChat } from './choices.js';
import type { ChatHead } from './collect.js';

type ChunkChoice = ChatChunk['choices'][number];

function deltaOf(piece: ChatPiece): ChatDelta {
  switch (piece.kind) {
    case 'content':
      return { content: piece.text };
    case 'call':
      return { tool_calls: [{ index: piece.index, ...piece.call }] };
    case 'arguments':
      return { tool_calls: [{ index: piece.index, function: { arguments: piece.text } }] };
    default:
      return {};
  }
}

/**
 * Sends every choice as it grows, interleaved: first its role, then content and calls, then the reason why it ended;
 * at last the usage if it was asked for. Tokens that were asked for travel in the chunk of the text that they belong
 * to, or alone where their text is held back. Rejects with the first failure; the caller ends the stream.
 */
export async function streamChat(
  sse: SseStream,
  head: ChatHead,
  context: Omit<ChatContext, 'usage'>,
  generations: readonly Generation[],
): Promise<void> {
  const { plan } = context;
  const usage = new UsageCounter(plan.promptIds.length, plan.requests, context.model.costs);
  const noUsage = plan.includeUsage ? { usage: null } : {};
  const ids = plan.showTokenIds;
  const send = async (choice: ChunkChoice, more: Partial<ChatChunk> = {}): Promise<void> => {
    await sse.send({ ...head, object: 'chat.completion.chunk', choices: [choice], ...more, ...noUsage });
  };
  const sendChoice = async (generation: Generation, index: number): Promise<void> => {
    let isOpen = false;
    let pending: (ChatPiece & { kind: 'tokens' }) | null = null;
    const sendDelta = async (delta: ChatDelta, reason: ChunkChoice['finish_reason']): Promise<void> => {
      const tokens = pending;
      pending = null;
      const choice = { index, delta, logprobs: tokens?.logprobs ?? null, finish_reason: reason };
      await send({ ...choice, ...(ids ? { token_ids: [...(tokens?.ids ?? [])] } : {}) });
    };
    for await (const piece of readChat({ ...context, usage }, index, generation)) {
      // Not before the first event: nothing is sent while the prompt is computed.
      if (!isOpen) {
        isOpen = true;
        const opening = {
          index,
          delta: { role: 'assistant', content: '' },
          logprobs: null,
          finish_reason: null,
        } as const;
        await send(opening, ids && index === 0 ? { prompt_token_ids: [...plan.promptIds] } : {});
      }
      if (piece.kind === 'tokens') {
        if (pending !== null) await sendDelta({}, null);
        pending = piece;
      } else {
        await sendDelta(deltaOf(piece), piece.kind === 'end' ? piece.reason : null);
      }
    }
  };
  await Promise.all(generations.map(sendChoice));
  if (plan.includeUsage) {
    const chunk: ChatChunk = { ...head, object: 'chat.completion.chunk', choices: [], usage: usage.body() };
    await sse.send(chunk);
  }
}
