import type { Generation } from '../../engine/types.js';
import { type ChatContext, readChat } from '../chat/choices.js';
import type { SseStream } from '../generation/sse.js';
import { UsageCounter } from '../generation/usage.js';
import type { ErrorBody } from '../schemas/error.js';
import type { ResponseBody } from '../schemas/responses-response.js';
import { finished } from './build.js';
import { OutputBuilder, type ResponseEvent } from './events.js';

/** Reads the one choice of a response; `onEvents` gets what a stream tells. */
async function generate(
  empty: ResponseBody,
  context: Omit<ChatContext, 'usage'>,
  [generation]: readonly Generation[],
  onEvents: (events: readonly ResponseEvent[]) => Promise<void>,
): Promise<ResponseBody> {
  if (generation === undefined) throw new RangeError('a response has one sequence');
  const usage = new UsageCounter(context.plan.promptIds.length, context.plan.requests, context.model.costs);
  const output = new OutputBuilder();
  let isCut = false;
  for await (const piece of readChat({ ...context, usage }, 0, generation)) {
    if (piece.kind === 'end') isCut = piece.reason === 'length';
    await onEvents(output.push(piece));
  }
  return finished(empty, output.items, isCut, usage);
}

/** The whole response. Rejects with what the sequence fails with. */
export function collectResponse(
  empty: ResponseBody,
  context: Omit<ChatContext, 'usage'>,
  generations: readonly Generation[],
): Promise<ResponseBody> {
  return generate(empty, context, generations, async () => {});
}

/** A response as the events of one stream, numbered from 0. */
export class ResponseStream {
  #number = 0;

  /** Sends everything from `response.created` to `response.completed` or `.incomplete`. Rejects as `collectResponse`. */
  async send(
    sse: SseStream,
    empty: ResponseBody,
    context: Omit<ChatContext, 'usage'>,
    generations: readonly Generation[],
  ): Promise<void> {
    const send = async (events: readonly ResponseEvent[]): Promise<void> => {
      for (const event of events) await this.#event(sse, event);
    };
    await send([
      { type: 'response.created', response: empty },
      { type: 'response.in_progress', response: empty },
    ]);
    const response = await generate(empty, context, generations, send);
    await send([{ type: `response.${response.status}`, response }]);
  }

  async fail(sse: SseStream, { error }: ErrorBody): Promise<void> {
    await this.#event(sse, { type: 'error', code: error.code, message: error.message, param: error.param });
  }

  async #event(sse: SseStream, event: ResponseEvent): Promise<void> {
    await sse.sendNamed(event.type, { ...event, sequence_number: this.#number++ });
  }
}
