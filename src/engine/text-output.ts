import type { Detokenizer } from '../model/types.js';
import type { EventChannel } from './event-channel.js';
import type { StopMatcher } from './stop-matcher.js';
import type { TokenLogprob } from './types.js';

/**
 * Turns the sampled tokens of one sequence into text events: holds back what may still be the beginning of a stop
 * string, and a token until all its text has been sent. Offsets are UTF-16 units from the start of the generated text.
 */
export class TextOutput {
  private readonly detokenizer: Detokenizer;
  private readonly stops: StopMatcher | null;
  private readonly channel: EventChannel;
  private readonly includeStop: boolean;
  private readonly minTokens: number;
  private tokenCount = 0;
  private held = '';
  private sentLength = 0;
  private totalLength = 0;
  // Tokens not yet reported: id, log-probability (if wanted), where the text begins, and how much must be sent first.
  private readonly ids: number[] = [];
  private readonly logprobs: TokenLogprob[] = [];
  private readonly starts: number[] = [];
  private readonly thresholds: number[] = [];

  /** `includeStop`: the text ends after the stop string instead of before it. Text of the first `minTokens` is safe. */
  constructor(
    detokenizer: Detokenizer,
    stops: StopMatcher | null,
    channel: EventChannel,
    { includeStop, minTokens }: { readonly includeStop: boolean; readonly minTokens: number },
  ) {
    this.detokenizer = detokenizer;
    this.stops = stops;
    this.channel = channel;
    this.includeStop = includeStop;
    this.minTokens = minTokens;
  }

  /** Returns true if a stop string has ended the text; `finish` must follow. */
  push(id: number, logprob: TokenLogprob | null): boolean {
    const start = this.totalLength;
    this.tokenCount++;
    const piece = this.detokenizer.push(id);
    this.append(piece);
    this.ids.push(id);
    if (logprob !== null) this.logprobs.push(logprob);
    this.starts.push(start);
    // A token without text of its own (half a character, a control token) goes with the text that follows it.
    this.thresholds.push(Math.max(this.totalLength, start + 1));
    if (this.stops?.settledMatch != null) return true;
    this.send(this.stops?.safeLength ?? this.totalLength);
    return false;
  }

  /** Reports the token that ended the sequence, without its text; `finish` must follow. */
  pushEnd(id: number, logprob: TokenLogprob | null): void {
    this.ids.push(id);
    if (logprob !== null) this.logprobs.push(logprob);
    this.starts.push(this.totalLength);
    this.thresholds.push(this.totalLength + 1);
  }

  /**
   * Sends what is left, up to the first stop string. Tokens that begin at or after that end aren't reported. Returns
   * whether there was one.
   */
  finish(): boolean {
    // After a settled stop nothing can change, and the tokenizer's rest lies beyond it.
    if (this.stops?.settledMatch == null) this.append(this.detokenizer.flush());
    const cut = (this.includeStop ? this.stops?.matchEnd : this.stops?.matchSoFar) ?? null;
    const end = cut ?? this.totalLength;
    const text = this.held.slice(0, end - this.sentLength);
    let count = this.ids.length;
    if (cut !== null) while (count > 0 && (this.starts[count - 1] as number) >= cut) count--;
    if (text !== '' || count > 0) this.channel.pushText(text, this.ids, this.logprobs, count);
    this.drop(this.ids.length);
    this.held = '';
    return cut !== null;
  }

  private append(piece: string): void {
    if (piece === '') return;
    this.held += piece;
    this.totalLength += piece.length;
    if (this.tokenCount > this.minTokens) this.stops?.push(piece);
    else this.stops?.skip(piece.length);
  }

  private send(safeLength: number): void {
    const length = safeLength - this.sentLength;
    let count = 0;
    while (count < this.ids.length && (this.thresholds[count] as number) <= safeLength) count++;
    if (length <= 0 && count === 0) return;
    const text = length >= this.held.length ? this.held : this.held.slice(0, length);
    this.held = length >= this.held.length ? '' : this.held.slice(length);
    this.sentLength = safeLength;
    this.channel.pushText(text, this.ids, this.logprobs, count);
    this.drop(count);
  }

  private drop(count: number): void {
    if (count === this.ids.length) {
      this.ids.length = 0;
      this.logprobs.length = 0;
      this.starts.length = 0;
      this.thresholds.length = 0;
    } else if (count > 0) {
      this.ids.splice(0, count);
      this.logprobs.splice(0, count);
      this.starts.splice(0, count);
      this.thresholds.splice(0, count);
    }
  }
}
