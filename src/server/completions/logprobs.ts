import type { TokenLogprob } from '../../engine/types.js';
import type { Tokenizer } from '../../model/types.js';
import type { LogprobsBody } from '../schemas/completion-response.js';

/** JSON has no −∞; the completions contract writes this instead. */
const LOGPROB_MIN = -9999;

const clamp = (logprob: number): number => Math.max(logprob, LOGPROB_MIN);

/** Code points that begin in these bytes: all but UTF-8 continuation bytes. */
function codePointStarts(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if ((byte & 0xc0) !== 0x80) count += 1;
  return count;
}

/** Code points of a string: what Python's `len` gives, the unit of `text_offset`. */
function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** The most likely tokens by text, best first; the token itself is always among them, as in OpenAI's responses. */
function topOf(entry: TokenLogprob, logprob: number, tokenizer: Tokenizer): Record<string, number> {
  const top = new Map<string, number>();
  // Two ids can share a text; the likelier one, which comes first, keeps it.
  for (const { tokenId, logprob: value } of entry.top) {
    const text = tokenizer.tokenText(tokenId);
    if (!top.has(text)) top.set(text, clamp(value));
  }
  const own = tokenizer.tokenText(entry.tokenId);
  if (!top.has(own)) top.set(own, clamp(logprob));
  return Object.fromEntries(top);
}

/**
 * Writes the `logprobs` object of one choice, piece by piece: offsets go on from piece to piece. Offsets count code
 * points in the returned text; a token that starts inside a character has that character's offset.
 */
export class LogprobsWriter {
  readonly #tokenizer: Tokenizer;
  /** Characters begun by all tokens so far. */
  #position = 0;
  /** Characters of the prompt's tokens that its text lacks: BOS, and the space that some tokenizers prepend. */
  #surplus = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The echoed prompt: its first entry has no log-probability. */
  writePrompt(entries: readonly TokenLogprob[], text: string): LogprobsBody {
    let begun = 0;
    for (const { tokenId } of entries) begun += codePointStarts(this.#tokenizer.tokenBytes(tokenId));
    this.#surplus = Math.max(0, begun - codePoints(text));
    return this.#write(entries, true);
  }

  writeCompletion(entries: readonly TokenLogprob[]): LogprobsBody {
    return this.#write(entries, false);
  }

  #write(entries: readonly TokenLogprob[], isPrompt: boolean): LogprobsBody {
    const tokenizer = this.#tokenizer;
    const body: LogprobsBody = { text_offset: [], token_logprobs: [], tokens: [], top_logprobs: [] };
    for (const entry of entries) {
      const bytes = tokenizer.tokenBytes(entry.tokenId);
      const first = bytes[0];
      const startsInside = first !== undefined && (first & 0xc0) === 0x80;
      body.text_offset.push(Math.max(0, this.#position - this.#surplus - (startsInside ? 1 : 0)));
      body.tokens.push(tokenizer.tokenText(entry.tokenId));
      body.token_logprobs.push(entry.logprob === null ? null : clamp(entry.logprob));
      body.top_logprobs.push(entry.logprob === null ? null : topOf(entry, entry.logprob, tokenizer));
      if (isPrompt || !this.#isSilent(entry.tokenId)) this.#position += codePointStarts(bytes);
    }
    return body;
  }

  /** Special tokens in a completion have a name but no text. */
  #isSilent(tokenId: number): boolean {
    return this.#tokenizer.decode([tokenId]) === '' && this.#tokenizer.decode([tokenId], true) !== '';
  }
}

/** Appends a piece's log-probabilities to those of the choice so far. Loops: a prompt can exceed the argument limit. */
export function appendLogprobs(target: LogprobsBody, piece: LogprobsBody): void {
  for (const offset of piece.text_offset) target.text_offset.push(offset);
  for (const logprob of piece.token_logprobs) target.token_logprobs.push(logprob);
  for (const token of piece.tokens) target.tokens.push(token);
  for (const top of piece.top_logprobs) target.top_logprobs.push(top);
}
