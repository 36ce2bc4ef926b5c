import type { ArchitectureSpec, TensorSpec } from '../native/contract.js';
import type { NibbleMetadata } from './nibble-metadata.js';

/** Tokenizer section of a GGUF file, checked: ids are in range, lists have the lengths the vocabulary implies. */
export type TokenizerMetadata = {
  /** `gpt2`: byte-level BPE with `merges`. `llama`: SentencePiece BPE with `scores` and byte fallback. */
  readonly model: 'gpt2' | 'llama';
  /** `tokenizer.ggml.pre`, the name of the pre-tokenizer (gpt2 models only). */
  readonly pre: string | null;
  readonly tokens: readonly string[];
  /** GGUF token types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. */
  readonly tokenTypes: Int32Array;
  readonly merges: readonly string[];
  readonly scores: Float32Array | null;
  readonly bosId: number | null;
  readonly eosId: number | null;
  /** Further end tokens: eot, eom, and the like. */
  readonly extraEndIds: readonly number[];
  readonly unknownId: number | null;
  readonly addBos: boolean;
  readonly addEos: boolean;
  readonly addSpacePrefix: boolean;
  readonly chatTemplate: string | null;
  /** Tokens for filling a gap in a text, in models that were trained for it. */
  readonly infill?: InfillIds | null;
};

/** Ids that mark the text before a gap, the text after it, and where to go on. */
export type InfillIds = { readonly prefixId: number; readonly suffixId: number; readonly middleId: number };

/** A model file as described by its metadata: validated, nothing of the weights read. */
export type ModelFile = {
  readonly path: string;
  /** The file's stem: the model id that the API reports. */
  readonly id: string;
  readonly fileBytes: number;
  readonly architectureName: string;
  readonly architecture: ArchitectureSpec;
  readonly tensors: readonly TensorSpec[];
  readonly tokenizer: TokenizerMetadata;
  /** What Nibble wrote into the file when it quantized it; null: it didn't. */
  readonly nibble: NibbleMetadata | null;
};

export type EncodeOptions = {
  /** Prepend BOS (append EOS) where the model file says so. */
  readonly addSpecialTokens: boolean;
  /** Whether text such as `<|im_start|>` becomes the special token (true) or plain text (false). */
  readonly parseSpecial: boolean;
};

/** Turns ids into text piece by piece; a piece never ends within a UTF-8 character. */
export interface Detokenizer {
  /** Text that became complete with this token; may be empty. */
  push(id: number): string;
  /** What is left, with U+FFFD for incomplete bytes. */
  flush(): string;
}

export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | null;
  /** Ids that end a generation. */
  readonly endIds: ReadonlySet<number>;
  encode(text: string, options: EncodeOptions): Int32Array;
  /** Special (control) tokens are left out unless `keepSpecial`. */
  decode(ids: ArrayLike<number>, keepSpecial?: boolean): string;
  /** Raw bytes of one token, special ones included as their text. */
  tokenBytes(id: number): Uint8Array;
  /** Printable form for log-probabilities: its text, or `bytes:\xNN…` when it isn't whole UTF-8 (as OpenAI's API). */
  tokenText(id: number): string;
  /** Special (control) tokens have no text unless `keepSpecial`. */
  createDetokenizer(keepSpecial?: boolean): Detokenizer;
}
