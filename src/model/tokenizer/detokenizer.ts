import { TextDecoder } from 'node:util';
import type { Detokenizer } from '../types.js';

/** As any UTF-8 decoder of the web: a U+FFFD for each maximal part of a broken sequence; U+FEFF is kept. */
export const createUtf8Decoder = (): TextDecoder => new TextDecoder('utf-8', { ignoreBOM: true });

const INCOMPLETE = { stream: true } as const;

/**
 * Detokenizers of one vocabulary. Each joins the bytes of tokens; bytes of a character that isn't complete wait for the
 * next token. Most tokens are plain ASCII: their texts are kept, as a decoder takes many times as long to be called as
 * it takes to decode.
 */
export function detokenizers(bytesOf: (id: number) => Uint8Array | null, vocabSize: number): () => Detokenizer {
  const texts = new Array<string | null | undefined>(vocabSize);
  const plainText = (id: number): string | null => {
    const bytes = bytesOf(id);
    if (!bytes?.every((byte) => byte < 0x80)) return null;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  };
  return () => {
    const decoder = createUtf8Decoder();
    let isWhole = true;
    return {
      push(id) {
        let text = texts[id];
        if (text === undefined) {
          text = plainText(id);
          texts[id] = text;
        }
        if (text !== null && isWhole) return text;
        const bytes = bytesOf(id);
        if (bytes === null) return '';
        // Nothing waits behind ASCII.
        isWhole = text !== null && text !== '';
        return decoder.decode(bytes, INCOMPLETE);
      },
      flush() {
        isWhole = true;
        return decoder.decode();
      },
    };
  };
}
