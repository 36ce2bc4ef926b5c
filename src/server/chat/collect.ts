import type { Generation } from '../../engine/types.js';
import { UsageCounter } from '../generation/usage.js';
import type { ChatBody, ChatLogprobs, ToolCallBody } from '../schemas/chat-response.js';
import { type ChatContext, type ChatFinish, type ChatPiece, readChat } from './choices.js';

/** What is common to all objects of one response. */
export type ChatHead = Pick<ChatBody, 'id' | 'created' | 'model' | 'system_fingerprint'>;

export type CollectedChat = {
  readonly content: string;
  readonly calls: readonly ToolCallBody[];
  readonly tokenIds: readonly number[];
  readonly logprobs: ChatLogprobs | null;
  readonly reason: ChatFinish;
};

async function collectChoice(pieces: AsyncGenerator<ChatPiece>): Promise<CollectedChat> {
  const texts: string[] = [];
  const calls: ToolCallBody[] = [];
  const tokenIds: number[] = [];
  let logprobs: ChatLogprobs | null = null;
  for await (const piece of pieces) {
    switch (piece.kind) {
      case 'content':
        texts.push(piece.text);
        break;
      case 'call':
        calls.push(piece.call);
        break;
      case 'arguments': {
        const call = calls.at(-1);
        if (call !== undefined) call.function.arguments += piece.text;
        break;
      }
      case 'tokens':
        for (const id of piece.ids) tokenIds.push(id);
        if (piece.logprobs === null) break;
        logprobs ??= { content: [], refusal: null };
        for (const entry of piece.logprobs.content) logprobs.content.push(entry);
        break;
      case 'end':
        return { content: texts.join(''), calls, tokenIds, logprobs, reason: piece.reason };
    }
  }
  throw new RangeError('a choice ended without an end');
}

type ChoiceBody = ChatBody['choices'][number];

function choiceBody(index: number, collected: CollectedChat, showTokenIds: boolean): ChoiceBody {
  const { content, calls, tokenIds, logprobs, reason } = collected;
  return {
    index,
    message: {
      role: 'assistant',
      // As in OpenAI's answers: null where there is nothing but calls.
      content: content === '' && calls.length > 0 ? null : content,
      refusal: null,
      ...(calls.length === 0 ? {} : { tool_calls: [...calls] }),
    },
    logprobs,
    finish_reason: reason,
    ...(showTokenIds ? { token_ids: [...tokenIds] } : {}),
  };
}

/** Waits for every choice and builds the whole response. Rejects with the first failure. */
export async function collectChat(
  head: ChatHead,
  context: Omit<ChatContext, 'usage'>,
  generations: readonly Generation[],
): Promise<ChatBody> {
  const { plan } = context;
  const usage = new UsageCounter(plan.promptIds.length, plan.requests, context.model.costs);
  const collected = await Promise.all(
    generations.map((generation, index) => collectChoice(readChat({ ...context, usage }, index, generation))),
  );
  return {
    ...head,
    object: 'chat.completion',
    choices: collected.map((choice, index) => choiceBody(index, choice, plan.showTokenIds)),
    usage: usage.body(),
    ...(plan.showTokenIds ? { prompt_token_ids: [...plan.promptIds] } : {}),
  };
}
