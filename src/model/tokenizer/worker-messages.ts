/** What crosses between the event loop and the tokenizer's thread. */
import type { EncodeOptions, TokenizerMetadata } from '../types.js';

export type WorkerRequest = { readonly job: number; readonly text: string; readonly options: EncodeOptions };

export type WorkerAnswer =
  | { readonly kind: 'ids'; readonly job: number; readonly ids: Int32Array }
  | { readonly kind: 'failed'; readonly job: number; readonly message: string };

/** A list of strings as one string and their lengths: cloning 400,000 strings would stall the event loop. */
export type PackedStrings = { readonly joined: string; readonly lengths: Int32Array };

export type PackedMetadata = Omit<TokenizerMetadata, 'tokens' | 'merges' | 'chatTemplate'> & {
  readonly packedTokens: PackedStrings;
  readonly packedMerges: PackedStrings;
};

const pack = (strings: readonly string[]): PackedStrings => ({
  joined: strings.join(''),
  lengths: Int32Array.from(strings, (text) => text.length),
});

function unpack({ joined, lengths }: PackedStrings): string[] {
  let start = 0;
  return Array.from(lengths, (length) => {
    const text = joined.slice(start, start + length);
    start += length;
    return text;
  });
}

export function packMetadata(metadata: TokenizerMetadata): PackedMetadata {
  const { tokens, merges, chatTemplate: _, ...rest } = metadata;
  return { ...rest, packedTokens: pack(tokens), packedMerges: pack(merges) };
}

export function unpackMetadata(packed: PackedMetadata): TokenizerMetadata {
  const { packedTokens, packedMerges, ...rest } = packed;
  return { ...rest, tokens: unpack(packedTokens), merges: unpack(packedMerges), chatTemplate: null };
}
