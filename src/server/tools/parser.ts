/**
 * Finds tool calls in a text that arrives in pieces, and gives out the rest as content: everything that can't be part
 * of a call any more, at once. What looked like a call and isn't one comes out as the text that it is.
 */
import type { ToolFormat } from './format.js';
import { readCalls, type ToolCall } from './read-calls.js';

export type ToolPiece =
  | { readonly kind: 'content'; readonly text: string }
  | { readonly kind: 'call'; readonly call: ToolCall }
  /** More of the arguments of the last call. */
  | { readonly kind: 'arguments'; readonly text: string };

/** Splits an answer that arrives in pieces into text and calls. */
export interface ToolReader {
  push(text: string): readonly ToolPiece[];
  /** The text is complete. */
  finish(): readonly ToolPiece[];
}

type Markers = { readonly start: string; readonly end: string | null };
const markersOf: Readonly<Record<ToolFormat, Markers>> = {
  hermes: { start: '<tool_call>', end: '</tool_call>' },
  mistral: { start: '[TOOL_CALLS]', end: null },
  llama3: { start: '<|python_tag|>', end: null },
};

/** Length of the longest end of `text` that begins `marker`. */
function overlap(text: string, marker: string): number {
  for (let length = Math.min(text.length, marker.length - 1); length > 0; length--) {
    if (text.endsWith(marker.slice(0, length))) return length;
  }
  return 0;
}

const trailingSpace = (text: string): number => text.length - text.trimEnd().length;

export class ToolParser implements ToolReader {
  readonly #format: ToolFormat;
  readonly #names: ReadonlySet<string>;
  /** `start`: nothing but white space so far; `bare`: the answer began like JSON, which may be a call without marker. */
  #state: 'start' | 'content' | 'call' | 'bare' = 'start';
  #held = '';
  #hasCalls = false;

  /** `names` are the functions on offer: a call without markers counts only if it names one of them. */
  constructor(format: ToolFormat, names: ReadonlySet<string>) {
    this.#format = format;
    this.#names = names;
  }

  push(text: string): readonly ToolPiece[] {
    this.#held += text;
    const pieces: ToolPiece[] = [];
    while (this.#step(pieces));
    return pieces;
  }

  /** The text is complete. */
  finish(): readonly ToolPiece[] {
    const pieces: ToolPiece[] = [];
    const text = this.#held;
    this.#held = '';
    switch (this.#state) {
      case 'call':
        this.#take(pieces, text, markersOf[this.#format].start + text);
        break;
      case 'bare': {
        const calls = readCalls(text, this.#format === 'mistral' ? 'mistral' : 'llama3');
        const isCall = calls?.every(({ name }) => this.#names.has(name)) === true;
        pieces.push(...(isCall ? (calls ?? []).map(asPiece) : [{ kind: 'content', text } as const]));
        break;
      }
      default:
        // White space after a call is nobody's text.
        if (text.trim() !== '' || (text !== '' && !this.#hasCalls)) pieces.push({ kind: 'content', text });
    }
    return pieces;
  }

  /** Takes what it can from the text held; returns whether there may be more to take. */
  #step(pieces: ToolPiece[]): boolean {
    const { start, end } = markersOf[this.#format];
    switch (this.#state) {
      case 'bare':
        return false;
      case 'call': {
        const at = end === null ? -1 : this.#held.indexOf(end);
        if (end === null || at < 0) return false;
        const inner = this.#held.slice(0, at);
        this.#held = this.#held.slice(at + end.length);
        this.#state = 'content';
        this.#take(pieces, inner, start + inner + end);
        return true;
      }
      case 'start':
        if (this.#held.trimStart() === '') return false;
        this.#state = this.#held.trimStart().startsWith('{') ? 'bare' : 'content';
        return true;
      case 'content':
        return this.#content(pieces, start);
    }
  }

  #content(pieces: ToolPiece[], start: string): boolean {
    const at = this.#held.indexOf(start);
    // White space before a call belongs to the call.
    const whole =
      at < 0 ? this.#held.slice(0, this.#held.length - overlap(this.#held, start)) : this.#held.slice(0, at);
    const text = whole.slice(0, whole.length - trailingSpace(whole));
    if (text !== '') pieces.push({ kind: 'content', text });
    if (at < 0) {
      this.#held = this.#held.slice(text.length);
      return false;
    }
    this.#held = this.#held.slice(at + start.length);
    this.#state = 'call';
    return true;
  }

  #take(pieces: ToolPiece[], inner: string, raw: string): void {
    const calls = readCalls(inner, this.#format);
    if (calls === null) pieces.push({ kind: 'content', text: raw });
    else pieces.push(...calls.map(asPiece));
    this.#hasCalls ||= calls !== null;
  }
}

const asPiece = (call: ToolCall): ToolPiece => ({ kind: 'call', call });
