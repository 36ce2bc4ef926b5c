/** Reads evaluation data. Any text is data; what can't be evaluated is refused with a code. */
import { readFile, stat } from 'node:fs/promises';
import { NibbleError, reasonOf } from '../../errors.js';
import type { Tokenizer } from '../../model/types.js';
import { jsonLines } from '../json-lines.js';

/** Text and its token ids are held in memory: this is some hundred times the usual test sets. */
const DATA_BYTES_MAX = 256 * 1024 * 1024;

const unreadable = (path: string, message: string, cause?: unknown) =>
  new NibbleError('data_unreadable', { path, message }, { param: 'data', cause });

/** The file as text; bytes that aren't UTF-8 become U+FFFD. Throws `data_unreadable`. */
export async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > DATA_BYTES_MAX) throw unreadable(path, `it has ${size} bytes; the limit is ${DATA_BYTES_MAX}`);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readFile(path));
  } catch (cause) {
    if (cause instanceof NibbleError) throw cause;
    throw unreadable(path, reasonOf(cause), cause);
  }
}

/**
 * Token ids of a whole file: tokenized once, special tokens in the text are plain text, and BOS comes first where the
 * model file says so. Throws `data_too_short` if there isn't one window.
 */
export async function readTokens(path: string, tokenizer: Tokenizer, windowTokens: number): Promise<Int32Array> {
  return tokensOf(await readText(path), path, tokenizer, windowTokens);
}

/** The same of a text that was read from `path`. */
export function tokensOf(text: string, path: string, tokenizer: Tokenizer, windowTokens: number): Int32Array {
  const ids = tokenizer.encode(text, { addSpecialTokens: true, parseSpecial: false });
  if (ids.length < windowTokens) {
    throw new NibbleError(
      'data_too_short',
      { path, tokens: ids.length, neededTokens: windowTokens },
      { param: 'data' },
    );
  }
  return ids;
}

/** A prompt and the continuation that is forced on the model, as token ids. */
export type ForcedSequence = { readonly prompt: Int32Array; readonly continuation: Int32Array };

/** Lines `{"prompt": [ids], "continuation": [ids]}`; empty lines are skipped. Throws `data_invalid` with the line. */
export async function readForcedSequences(
  path: string,
  limits: { readonly vocab: number; readonly tokensMax: number },
): Promise<ForcedSequence[]> {
  const text = await readText(path);
  const sequences: ForcedSequence[] = [];
  for (const { fields, fail } of jsonLines(text, path, 'data')) {
    const prompt = readIds(fields.prompt, limits.vocab);
    const continuation = readIds(fields.continuation, limits.vocab);
    if (prompt === null || continuation === null) {
      throw fail(`needs "prompt" and "continuation": non-empty lists of token ids below ${limits.vocab}`);
    }
    if (prompt.length + continuation.length > limits.tokensMax) throw fail(`has more than ${limits.tokensMax} tokens`);
    sequences.push({ prompt, continuation });
  }
  if (sequences.length === 0) throw new NibbleError('data_too_short', { path, tokens: 0, neededTokens: 2 });
  return sequences;
}

function readIds(value: unknown, vocab: number): Int32Array | null {
  const isId = (id: unknown): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocab;
  return Array.isArray(value) && value.length > 0 && value.every(isId) ? Int32Array.from(value) : null;
}
