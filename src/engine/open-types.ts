import type { ChatTemplate } from '../model/chat-template/index.js';
import type { EncodeOptions, ModelFile, Tokenizer } from '../model/types.js';
import type { ActivationFormat, KvFormat, LoadOptions, LookupTokens, NativeModel } from '../native/contract.js';
import type { PinnedPrefix } from './pin-prefixes.js';
import type { Engine, EngineObserver } from './types.js';

/** What it takes to open a model for generation. `null` means "choose": see docs/configuration.md. */
export type OpenModelOptions = {
  /** Path of a GGUF file, or a name known to the model sources. */
  readonly model: string;
  readonly threads: number | null;
  /** null: by the recipe in the file, a8 if there is none. */
  readonly activations: ActivationFormat | null;
  /** When bit planes are looked up; null or absent: as `nibble tune` measured. */
  readonly lookups?: LookupTokens | null;
  /** null: by the recipe in the file, f16 if it says nothing. */
  readonly kv: KvFormat | null;
  /** As in `LoadOptions`. */
  readonly kvRotates?: boolean;
  /** As in `LoadOptions`: for evaluations, instead of what the file's recipe says. */
  readonly linears?: LoadOptions['linears'];
  readonly agile?: LoadOptions['agile'];
  /** Longest sequence, tokens; null: the model's own context length. */
  readonly contextTokens: number | null;
  /** Size of the KV pool, tokens; null: by `chooseKvTokens` of src/config.ts. */
  readonly kvTokens: number | null;
  readonly maxSequences: number;
  readonly maxWaiting: number;
  readonly maxWaitingTokens: number;
  /** Longest wait for a first turn, seconds. */
  readonly queueSeconds: number;
  /** Time between two tokens that prompts are cut into chunks for, ms. */
  readonly itlTarget: number;
  /** Whether to guess tokens ahead, by what followed the same few tokens before. */
  readonly speculate: 'ngram' | 'off';
  /** Disk space for packed weights, bytes; 0: none are stored or read. */
  readonly packCacheBytes: number;
  /** Text file, or folder of them, whose beginnings are pinned in the KV cache before the model is ready. */
  readonly pinPrefix?: string;
  /** What weights and KV cache may take together, bytes; null: what is free. */
  readonly memoryBytes?: number | null;
  readonly offline: boolean;
  /** Folder of Nibble's own files; null: the user's cache folder. */
  readonly home: string | null;
  readonly observer?: EngineObserver;
  /** Share of the weights packed, in [0, 1]. */
  readonly onProgress?: (share: number) => void;
  /** Told what was pinned. */
  readonly onPinned?: (prefixes: readonly PinnedPrefix[]) => void;
  /** Told what went wrong without keeping the model from being used. */
  readonly onWarning?: (message: string) => void;
  /** Stops fetching and loading. */
  readonly signal?: AbortSignal;
};

/** A model ready to generate, with everything a command or a server needs around it. */
export type OpenedModel = {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly modelFile: ModelFile;
  readonly nativeModel: NativeModel;
  /** The file's chat template, in a thread that starts when it is first used; null if the file has none. */
  readonly chatTemplate: ChatTemplate | null;
  /** Encodes off the event loop, for long prompts. */
  readonly encodeLong: (text: string, options: EncodeOptions) => Promise<Int32Array>;
  /** Aborts what still runs, then frees engine, model and tokenizer worker. Idempotent. */
  close(): Promise<void>;
};

export type OpenModel = (options: OpenModelOptions) => Promise<OpenedModel>;

/** A model file that was found and understood, but isn't loaded. */
export type PreparedFile = {
  /** The name of the model that the file has by itself. */
  readonly id: string;
  /** About what it will take in memory, bytes. */
  readonly bytes: number;
  /** Tells its content from any other, wherever it lies (`contentSample`). */
  readonly content: string;
  /** Rejects with `model_file_changed` if it isn't the same file any more. */
  open(): Promise<OpenedModel>;
};
export type PrepareModel = (options: OpenModelOptions) => Promise<PreparedFile>;
