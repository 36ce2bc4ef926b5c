import { NibbleError } from '../../errors.js';
import { INLINE_TOKENIZE_BYTES_MAX } from '../../limits.js';
import type { EncodeOptions } from '../../model/types.js';
import type { ServedModel } from '../served-model.js';

/** How prompts are encoded: with the model's special tokens added, and those in the text parsed. */
export const promptOptions: EncodeOptions = { addSpecialTokens: true, parseSpecial: true };

/** Encodes texts in order; off the event loop when together they exceed INLINE_TOKENIZE_BYTES_MAX. */
export async function encodeTexts(
  texts: readonly string[],
  model: ServedModel,
  options: EncodeOptions,
): Promise<readonly Int32Array[]> {
  const totalBytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (totalBytes <= INLINE_TOKENIZE_BYTES_MAX) return texts.map((text) => model.tokenizer.encode(text, options));
  const encoded: Int32Array[] = [];
  for (const text of texts) encoded.push(await model.encodeLong(text, options));
  return encoded;
}

/** Ids given by a client. Throws `invalid_request` for one outside the vocabulary. */
export function checkedIds(ids: readonly number[], vocabSize: number, param: string): Int32Array {
  const outside = ids.find((id) => id >= vocabSize);
  if (outside === undefined) return Int32Array.from(ids);
  const message = `'${param}' holds the token id ${outside}; the vocabulary has ${vocabSize}.`;
  throw new NibbleError('invalid_request', { message }, { param });
}
