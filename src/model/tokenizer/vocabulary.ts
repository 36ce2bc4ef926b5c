/** What both families share: token types, checks of the metadata, the bytes that a token stands for. */
import { NibbleError } from '../../errors.js';
import type { TokenizerMetadata } from '../types.js';

export const NORMAL = 1;
export const UNKNOWN = 2;
export const CONTROL = 3;
export const USER_DEFINED = 4;
export const BYTE = 6;

/** How SentencePiece writes a space within a token: U+2581. */
export const SPACE_MARK = '\u2581';

export const invalidVocabulary = (key: string, message: string): NibbleError =>
  new NibbleError('model_metadata_invalid', { key: `tokenizer.ggml.${key}`, message });

/** Value of a SentencePiece byte token such as `<0x0A>`, or -1. */
export function byteValue(token: string): number {
  const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
  return match?.[1] === undefined ? -1 : Number.parseInt(match[1], 16);
}

/**
 * GPT-2's printable stand-ins: byte b is written as the character `byteToChar[b]`; bytes that print stand for
 * themselves, the others follow from U+0100 (openai/gpt-2, encoder.py, bytes_to_unicode).
 */
export const byteToChar: readonly string[] = buildByteAlphabet();
const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

function buildByteAlphabet(): string[] {
  const alphabet: string[] = [];
  let shifted = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet.push(String.fromCharCode(prints ? byte : shifted++));
  }
  return alphabet;
}

/** Throws `model_metadata_invalid` unless lists have one entry a token and ids are in range. */
export function checkMetadata(metadata: TokenizerMetadata): void {
  const size = metadata.tokens.length;
  if (size === 0) throw invalidVocabulary('tokens', 'the vocabulary is empty');
  if (metadata.tokenTypes.length !== size) {
    throw invalidVocabulary('token_type', `${metadata.tokenTypes.length} types for ${size} tokens`);
  }
  if (metadata.scores !== null && metadata.scores.length !== size) {
    throw invalidVocabulary('scores', `${metadata.scores.length} scores for ${size} tokens`);
  }
  const named = [metadata.bosId, metadata.eosId, metadata.unknownId, ...metadata.extraEndIds];
  for (const id of named) {
    if (id !== null && !(Number.isInteger(id) && id >= 0 && id < size)) {
      throw invalidVocabulary('tokens', `special token id ${id} is outside the vocabulary of ${size}`);
    }
  }
}

/** Bytes of one token: control and user-defined tokens are their own text, `<0xNN>` is a byte. */
export function bytesOfToken(metadata: TokenizerMetadata, id: number): Buffer {
  const token = metadata.tokens[id] ?? '';
  const type = metadata.tokenTypes[id];
  if (type === BYTE) {
    const value = byteValue(token);
    return value < 0 ? Buffer.from(token) : Buffer.from([value]);
  }
  if (type === CONTROL || type === UNKNOWN) return Buffer.from(token);
  if (metadata.model === 'llama') return Buffer.from(token.replaceAll(SPACE_MARK, ' '));
  return (type === USER_DEFINED ? null : bytesOfAlphabet(token)) ?? Buffer.from(token);
}

/** Undoes the byte alphabet; null if a character isn't in it (a token that was added as plain text). */
function bytesOfAlphabet(token: string): Buffer | null {
  const bytes = Buffer.allocUnsafe(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token.charAt(i));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}
