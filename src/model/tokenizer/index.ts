/**
 * Text to token ids and back, from the vocabulary that a GGUF file carries. docs/decisions says why it is written here
 * and not taken from a library.
 */
import { TextDecoder } from 'node:util';
import { NibbleError } from '../../errors.js';
import type { EncodeOptions, Tokenizer, TokenizerMetadata } from '../types.js';
import { ByteLevelEncoder } from './byte-level.js';
import { createUtf8Decoder, detokenizers } from './detokenizer.js';
import { IdBuffer } from './id-buffer.js';
import { SentencePieceEncoder } from './sentencepiece.js';
import { wellFormed } from './unicode.js';
import { bytesOfToken, CONTROL, checkMetadata, UNKNOWN } from './vocabulary.js';

/**
 * Builds a tokenizer (0.1–0.5 s for 50,000–150,000 tokens).
 *
 * Encoding equals the model's own tokenizer: `tokenizers` for byte-level models, `sentencepiece` for the others, but
 * for characters that Unicode assigned after the model library's release. Lone surrogates count as U+FFFD. It takes
 * O(n log n) time for a text of n characters, whatever they are.
 *
 * Decoding takes the ids as the continuation of a text: the space that SentencePiece puts in front is not removed.
 * Ids outside the vocabulary throw `invalid_request`.
 *
 * Throws `tokenizer_unsupported` for an unknown pre-tokenizer and `model_metadata_invalid` for a broken vocabulary.
 */
export function createTokenizer(metadata: TokenizerMetadata): Tokenizer {
  checkMetadata(metadata);
  const encoder = metadata.model === 'llama' ? new SentencePieceEncoder(metadata) : new ByteLevelEncoder(metadata);
  const vocabSize = metadata.tokens.length;

  const tokenBytes = (id: number): Uint8Array => {
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) return bytesOfToken(metadata, id);
    throw new NibbleError('invalid_request', {
      message: `Token id ${id} is outside the vocabulary [0, ${vocabSize}).`,
    });
  };
  const textBytes = (id: number): Uint8Array | null => {
    const bytes = tokenBytes(id);
    const type = metadata.tokenTypes[id];
    return type === CONTROL || type === UNKNOWN ? null : bytes;
  };

  const ofText = detokenizers(textBytes, vocabSize);
  const ofAll = detokenizers(tokenBytes, vocabSize);

  return {
    vocabSize,
    bosId: metadata.bosId,
    endIds: new Set(metadata.eosId === null ? metadata.extraEndIds : [metadata.eosId, ...metadata.extraEndIds]),

    encode(text: string, options: EncodeOptions): Int32Array {
      const ids = new IdBuffer();
      if (options.addSpecialTokens && metadata.addBos && metadata.bosId !== null) ids.push(metadata.bosId);
      encoder.encode(wellFormed(text), options.parseSpecial, ids);
      if (options.addSpecialTokens && metadata.addEos && metadata.eosId !== null) ids.push(metadata.eosId);
      return ids.toArray();
    },

    decode(ids: ArrayLike<number>, keepSpecial = false): string {
      const parts: Uint8Array[] = [];
      for (let i = 0; i < ids.length; i++) {
        const bytes = (keepSpecial ? tokenBytes : textBytes)(ids[i] ?? -1);
        if (bytes !== null) parts.push(bytes);
      }
      return createUtf8Decoder().decode(Buffer.concat(parts));
    },

    tokenBytes,
    tokenText: (id) => printable(tokenBytes(id)),
    createDetokenizer: (keepSpecial = false) => (keepSpecial ? ofAll() : ofText()),
  };
}

/** The text of whole UTF-8, else OpenAI's `bytes:\xe2\x80`. */
function printable(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { ignoreBOM: true, fatal: true }).decode(bytes);
  } catch {
    return `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}
