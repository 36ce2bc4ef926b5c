import { randomBytes } from 'node:crypto';
import type { Generation } from '../../engine/types.js';
import { completeEvent, cutShort, type OnSequenceEnd, type UsageCounter } from '../generation/usage.js';
import type { ChatLogprobs, ToolCallBody } from '../schemas/chat-response.js';
import type { ServedModel } from '../served-model.js';
import { ForcedCallReader } from '../tools/forced.js';
import { ToolParser, type ToolPiece, type ToolReader } from '../tools/parser.js';
import type { ToolCall } from '../tools/read-calls.js';
import { chatLogprobs } from './logprobs.js';
import type { ChatPlan, ToolPlan } from './plan.js';

export type ChatFinish = 'stop' | 'length' | 'tool_calls';

/** What arrives of one choice, in order. `end` is the last. */
export type ChatPiece =
  | { readonly kind: 'content'; readonly text: string }
  /** A call whose arguments may go on. */
  | { readonly kind: 'call'; readonly index: number; readonly call: ToolCallBody }
  | { readonly kind: 'arguments'; readonly index: number; readonly text: string }
  /** Tokens of what came before or comes next; only where they are wanted. */
  | { readonly kind: 'tokens'; readonly ids: readonly number[]; readonly logprobs: ChatLogprobs | null }
  | { readonly kind: 'end'; readonly reason: ChatFinish };

export type ChatContext = {
  readonly plan: ChatPlan;
  readonly model: ServedModel;
  readonly usage: UsageCounter;
  readonly onSequenceEnd: OnSequenceEnd;
};

const callBody = ({ name, arguments: text }: ToolCall): ToolCallBody => ({
  id: `call_${randomBytes(12).toString('hex')}`,
  type: 'function',
  function: { name, arguments: text },
});

const readerOf = ({ format, names, forced }: ToolPlan): ToolReader =>
  forced === null ? new ToolParser(format, names) : new ForcedCallReader();

/** Splits text into content and calls, and numbers the calls. */
class Splitter {
  readonly #parser: ToolReader | null;
  readonly #callsMax: number;
  callCount = 0;

  constructor({ tools }: ChatPlan) {
    this.#parser = tools === null ? null : readerOf(tools);
    this.#callsMax = tools?.isParallel === false ? 1 : Number.POSITIVE_INFINITY;
  }

  push(text: string): readonly ChatPiece[] {
    if (this.#parser === null) return text === '' ? [] : [{ kind: 'content', text }];
    return this.#number(this.#parser.push(text));
  }

  finish(): readonly ChatPiece[] {
    return this.#parser === null ? [] : this.#number(this.#parser.finish());
  }

  #number(pieces: readonly ToolPiece[]): readonly ChatPiece[] {
    const numbered: ChatPiece[] = [];
    for (const piece of pieces) {
      if (piece.kind === 'content') numbered.push(piece);
      else if (piece.kind === 'arguments') numbered.push({ ...piece, index: this.callCount - 1 });
      else if (this.callCount < this.#callsMax) {
        numbered.push({ kind: 'call', index: this.callCount++, call: callBody(piece.call) });
      }
    }
    return numbered;
  }
}

/** Reads one choice. Throws what the sequence fails with, and `draining` if the engine cut it. */
export async function* readChat(
  { plan, model, usage, onSequenceEnd }: ChatContext,
  index: number,
  generation: Generation,
): AsyncGenerator<ChatPiece> {
  const wantsLogprobs = plan.requests[index]?.logprobs != null;
  const splitter = new Splitter(plan);
  for await (const one of generation) {
    const event = completeEvent(one);
    if (event.kind === 'text') {
      const hasTokens = event.tokenIds.length > 0 && (plan.showTokenIds || wantsLogprobs);
      const logprobs = wantsLogprobs ? chatLogprobs(model.tokenizer, event.logprobs) : null;
      if (hasTokens) yield { kind: 'tokens', ids: event.tokenIds, logprobs };
      yield* splitter.push(event.text);
    } else if (event.kind === 'end') {
      yield* splitter.finish();
      usage.add(event, index === 0);
      onSequenceEnd(plan.promptIds.length, event.cachedTokens);
      const isCall = splitter.callCount > 0 && event.reason === 'stop';
      yield { kind: 'end', reason: isCall ? 'tool_calls' : event.reason };
      return;
    }
  }
  throw cutShort();
}
