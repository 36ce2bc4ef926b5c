/** Tiny vocabularies for tests, whose ids follow from how they are put together. */
import type { EncodeOptions, TokenizerMetadata } from '../../src/model/types.js';

export const plain: EncodeOptions = { addSpecialTokens: false, parseSpecial: false };
export const parsing: EncodeOptions = { addSpecialTokens: false, parseSpecial: true };

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;

const base = {
  merges: [],
  scores: null,
  bosId: null,
  eosId: null,
  extraEndIds: [],
  unknownId: null,
  addBos: false,
  addEos: false,
  addSpacePrefix: false,
  chatTemplate: null,
} as const;

/** GPT-2's alphabet: printable Latin-1 bytes are themselves, the others follow from U+0100 on. */
export function byteChar(byte: number): string {
  const prints = (b: number): boolean => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b !== 0xad);
  if (prints(byte)) return String.fromCharCode(byte);
  let rank = 0;
  for (let b = 0; b < byte; b++) if (!prints(b)) rank++;
  return String.fromCharCode(0x100 + rank);
}

/** Ids 0–255 are the bytes (but those `without`), then the results of merges, other tokens, control, user-defined. */
export function byteLevel(parts: {
  readonly pre?: string;
  readonly merges?: readonly string[];
  readonly tokens?: readonly string[];
  readonly control?: readonly string[];
  readonly userDefined?: readonly string[];
  readonly without?: readonly number[];
}): TokenizerMetadata {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !parts.without?.includes(byte));
  const normal = [
    ...bytes.map(byteChar),
    ...(parts.merges ?? []).map((merge) => merge.replace(' ', '')),
    ...(parts.tokens ?? []),
  ];
  const control = parts.control ?? [];
  const userDefined = parts.userDefined ?? [];
  const types = [normal.map(() => NORMAL), control.map(() => CONTROL), userDefined.map(() => USER_DEFINED)];
  return {
    ...base,
    model: 'gpt2',
    pre: parts.pre ?? 'gpt-2',
    tokens: [...normal, ...control, ...userDefined],
    tokenTypes: Int32Array.from(types.flat()),
    merges: parts.merges ?? [],
  };
}

/** Id 0 is the unknown token, 1 BOS, then the 256 byte tokens (unless `bytes` is false), then pieces with scores. */
export function sentencePiece(parts: {
  readonly pieces?: Readonly<Record<string, number>>;
  readonly bytes?: boolean;
}): TokenizerMetadata {
  const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');
  const bytes = parts.bytes === false ? [] : Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`);
  const pieces = Object.entries(parts.pieces ?? {});
  return {
    ...base,
    model: 'llama',
    pre: null,
    tokens: ['<unk>', '<s>', ...bytes, ...pieces.map(([piece]) => piece)],
    tokenTypes: Int32Array.from([UNKNOWN, CONTROL, ...bytes.map(() => BYTE), ...pieces.map(() => NORMAL)]),
    scores: Float32Array.from([0, 0, ...bytes.map(() => 0), ...pieces.map(([, score]) => score)]),
    bosId: 1,
    unknownId: 0,
    addSpacePrefix: true,
  };
}
