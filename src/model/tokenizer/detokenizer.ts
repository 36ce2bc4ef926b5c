import { TextDecoder } from 'node:util';
import type { Detokenizer } from '../types.js';

/** As any UTF-8 decoder of the web: a U+FFFD for each maximal part of a broken sequence; U+FEFF is kept. */
export const createUtf8Decoder = (): TextDecoder => new TextDecoder('utf-8', { ignoreBOM: true });

const INCOMPLETE = { stream: true } as const;

/** Joins the bytes of tokens; bytes of a character that isn't complete wait for the next token. */
export function createDetokenizer(bytesOf: (id: number) => Uint8Array | null): Detokenizer {
  const decoder = createUtf8Decoder();
  return {
    push(id) {
      const bytes = bytesOf(id);
      return bytes === null ? '' : decoder.decode(bytes, INCOMPLETE);
    },
    flush: () => decoder.decode(),
  };
}
