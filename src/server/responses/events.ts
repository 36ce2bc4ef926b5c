import type { ChatPiece } from '../chat/choices.js';
import type { ChatLogprob } from '../schemas/chat-response.js';
import type { OutputItem } from '../schemas/responses-response.js';
import { type CallItem, callItem, type MessageItem, openMessage, outputText } from './build.js';

/** One event of a streamed response, without its number. */
export type ResponseEvent = { readonly type: string } & Readonly<Record<string, unknown>>;

/**
 * Turns what is generated into output items, and into the events by which a stream tells of them. Text before, between
 * and after calls is a message each.
 */
export class OutputBuilder {
  readonly items: OutputItem[] = [];
  #message: MessageItem | null = null;
  #text = '';
  #logprobs: ChatLogprob[] = [];
  /** Log-probabilities whose text comes next. */
  #pending: ChatLogprob[] = [];
  /** The call whose arguments may go on. */
  #call: CallItem | null = null;

  push(piece: ChatPiece): readonly ResponseEvent[] {
    switch (piece.kind) {
      case 'tokens':
        this.#pending.push(...(piece.logprobs?.content ?? []));
        return [];
      case 'content':
        return [...this.#closeCall('completed'), ...this.#content(piece.text)];
      case 'call':
        return [
          ...this.#closeCall('completed'),
          ...this.#closeMessage('completed'),
          ...this.#openCall(callItem(piece.call)),
        ];
      case 'arguments':
        return this.#moreArguments(piece.text);
      case 'end': {
        const status = piece.reason === 'length' ? 'incomplete' : 'completed';
        const closing = this.#closeCall(status);
        // An answer without any text is an empty message, so that there is always something to read.
        const opening = this.items.length === 0 && this.#message === null ? this.#content('') : [];
        return [...closing, ...opening, ...this.#closeMessage(status)];
      }
    }
  }

  #content(delta: string): readonly ResponseEvent[] {
    const events: ResponseEvent[] = [];
    const output_index = this.items.length;
    if (this.#message === null) {
      this.#message = openMessage();
      const place = { output_index, item_id: this.#message.id, content_index: 0 };
      events.push({ type: 'response.output_item.added', output_index, item: this.#message });
      events.push({ type: 'response.content_part.added', ...place, part: outputText('', []) });
    }
    const logprobs = this.#pending.splice(0);
    this.#text += delta;
    this.#logprobs.push(...logprobs);
    if (delta === '' && logprobs.length === 0) return events;
    const place = { output_index, item_id: this.#message.id, content_index: 0 };
    events.push({ type: 'response.output_text.delta', ...place, delta, logprobs });
    return events;
  }

  #closeMessage(status: MessageItem['status']): readonly ResponseEvent[] {
    if (this.#message === null) return [];
    const part = outputText(this.#text, [...this.#logprobs, ...this.#pending.splice(0)]);
    const item: MessageItem = { ...this.#message, status, content: [part] };
    const output_index = this.items.length;
    const place = { output_index, item_id: item.id, content_index: 0 };
    this.items.push(item);
    this.#message = null;
    this.#text = '';
    this.#logprobs = [];
    return [
      { type: 'response.output_text.done', ...place, text: part.text, logprobs: part.logprobs },
      { type: 'response.content_part.done', ...place, part },
      { type: 'response.output_item.done', output_index, item },
    ];
  }

  #openCall(item: CallItem): readonly ResponseEvent[] {
    this.#call = { ...item, arguments: '' };
    this.#pending = [];
    const output_index = this.items.length;
    const opened = { ...this.#call, status: 'in_progress' };
    return [{ type: 'response.output_item.added', output_index, item: opened }, ...this.#moreArguments(item.arguments)];
  }

  #moreArguments(delta: string): readonly ResponseEvent[] {
    if (this.#call === null || delta === '') return [];
    this.#call.arguments += delta;
    this.#pending = [];
    const place = { output_index: this.items.length, item_id: this.#call.id };
    return [{ type: 'response.function_call_arguments.delta', ...place, delta }];
  }

  #closeCall(status: CallItem['status']): readonly ResponseEvent[] {
    if (this.#call === null) return [];
    const item: CallItem = { ...this.#call, status };
    const output_index = this.items.length;
    const place = { output_index, item_id: item.id };
    this.items.push(item);
    this.#call = null;
    return [
      { type: 'response.function_call_arguments.done', ...place, name: item.name, arguments: item.arguments },
      { type: 'response.output_item.done', output_index, item },
    ];
  }
}
