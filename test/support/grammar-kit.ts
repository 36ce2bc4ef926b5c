/** A vocabulary of one token for each byte, and an end token: what may follow is easy to say. */
import type { TokenizerMetadata } from '../../src/model/types.js';

export const END_ID = 256;

const byteName = (byte: number): string => `<0x${byte.toString(16).toUpperCase()}>`;

export function byteTokens(): TokenizerMetadata {
  return {
    // A family whose tokens are their own text, but for the mark that stands for a space.
    model: 'llama',
    pre: null,
    tokens: [
      ...Array.from({ length: 256 }, (_, byte) => (byte < 128 ? String.fromCharCode(byte) : byteName(byte))),
      '</s>',
    ],
    tokenTypes: Int32Array.from({ length: 257 }, (_, id) => (id === END_ID ? 3 : id < 128 ? 1 : 6)),
    merges: [],
    scores: new Float32Array(257),
    bosId: null,
    eosId: END_ID,
    extraEndIds: [],
    unknownId: null,
    addBos: false,
    addEos: false,
    addSpacePrefix: false,
    chatTemplate: null,
  };
}

export const tokensOf = (text: string): number[] => [...Buffer.from(text)];
