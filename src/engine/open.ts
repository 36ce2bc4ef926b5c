/** From a model's name to a running engine: find the file, read it, load it natively, join everything. */
import { stat } from 'node:fs/promises';
import { freemem } from 'node:os';
import { chooseKvTokens } from '../config.js';
import { NibbleError, reasonOf } from '../errors.js';
import { GrammarEngine } from '../grammar/grammar-engine.js';
import { CONTEXT_TOKENS_MAX, KV_BLOCK_TOKENS, STEP_ROWS_MAX, STEP_TOKENS_MAX } from '../limits.js';
import { ChatTemplate } from '../model/chat-template/index.js';
import { contentSample } from '../model/content-sample.js';
import { readModelFile } from '../model/gguf.js';
import { kvBytesPerToken } from '../model/kv-bytes.js';
import { packedBytes } from '../model/packed-bytes.js';
import { kvOf, linearsOf } from '../model/recipe.js';
import { packsFolder, resolveModel } from '../model/sources/resolve.js';
import { createTokenizer } from '../model/tokenizer/index.js';
import { TokenizerWorker } from '../model/tokenizer/worker.js';
import type { ModelFile } from '../model/types.js';
import type { LoadOptions, NativeModel } from '../native/contract.js';
import { loadAddon } from '../native/load.js';
import { asNibbleError } from './as-nibble-error.js';
import { createEngine } from './engine.js';
import { chooseLookups } from './lookups.js';
import type { OpenedModel, OpenModelOptions, PreparedFile } from './open-types.js';
import { storePack } from './pack-cache.js';
import { type PinTarget, pinPrefixes } from './pin-prefixes.js';

type LoadSizes = { readonly contextTokensMax: number; readonly kvBlockCount: number };

function chooseSizes(file: ModelFile, options: OpenModelOptions): LoadSizes {
  const contextTokensMax = Math.min(options.contextTokens ?? CONTEXT_TOKENS_MAX, file.architecture.contextLength);
  const free = Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);
  const { memoryBytes = null } = options;
  const kvTokens =
    options.kvTokens ??
    chooseKvTokens({
      contextTokens: contextTokensMax,
      bytesPerToken: kvBytesPerToken(file.architecture, kvOf(file, options.kv)),
      availableBytes: memoryBytes === null ? free : Math.min(free, memoryBytes - packedBytes(file.tensors)),
    });
  return { contextTokensMax, kvBlockCount: Math.max(1, Math.ceil(kvTokens / KV_BLOCK_TOKENS)) };
}

/** Loads a model file natively with the sizes given; rejects with a NibbleError. */
export async function loadNativeModel(
  file: ModelFile,
  options: Pick<OpenModelOptions, 'threads' | 'activations' | 'kv' | 'kvRotates' | 'linears' | 'agile' | 'onProgress'> &
    Partial<Pick<OpenModelOptions, 'lookups' | 'home'>> &
    Pick<LoadOptions, 'head' | 'slotCount' | 'packFolder'> &
    LoadSizes,
): Promise<NativeModel> {
  const addon = loadAddon();
  const { lookups } = await chooseLookups(options.lookups ?? null, options.home ?? null, addon.cpuInfo());
  const load: LoadOptions = {
    path: file.path,
    architecture: file.architecture,
    tensors: file.tensors,
    threads: options.threads ?? addon.cpuInfo().defaultThreads,
    activations: options.activations ?? 'a8',
    lookups,
    kv: kvOf(file, options.kv),
    kvBlockCount: options.kvBlockCount,
    slotCount: options.slotCount,
    stepTokensMax: STEP_TOKENS_MAX,
    stepRowsMax: STEP_ROWS_MAX,
    contextTokensMax: options.contextTokensMax,
    ...(file.nibble?.recipe.rotation === undefined ? {} : { rotation: file.nibble.recipe.rotation }),
    ...linearsOf(file, options.activations, file.architecture.layers),
    ...(options.linears === undefined ? {} : { linears: options.linears }),
    ...(options.head === undefined ? {} : { head: options.head }),
    ...(options.agile === undefined ? {} : { agile: options.agile }),
    ...(options.packFolder === undefined ? {} : { packFolder: options.packFolder }),
    ...(options.kvRotates === undefined ? {} : { kvRotates: options.kvRotates }),
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  };
  try {
    return await addon.loadModel(load);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'model_file_unreadable') {
      throw new NibbleError('model_file_unreadable', { path: file.path, message: error.message }, { cause: error });
    }
    throw asNibbleError(error);
  }
}

/** The chat template of a file, not started yet; null if it has none. */
export function openChatTemplate({ tokenizer }: ModelFile): ChatTemplate | null {
  const { chatTemplate, tokens, bosId, eosId } = tokenizer;
  if (chatTemplate === null) return null;
  const textOf = (id: number | null) => (id === null ? '' : (tokens[id] ?? ''));
  return new ChatTemplate(chatTemplate, { bos_token: textOf(bosId), eos_token: textOf(eosId) });
}

/** Tells a file from any that takes its place, and from itself once it was written to. */
async function stampOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true }).catch((cause: Error) => {
    throw new NibbleError('model_file_unreadable', { path, message: reasonOf(cause) }, { cause });
  });
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** Finds and reads a model's description. Rejects with a NibbleError. */
export async function prepareModel(options: OpenModelOptions): Promise<PreparedFile> {
  const path = await resolveModel(options.model, {
    offline: options.offline,
    home: options.home,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const stamp = await stampOf(path);
  const modelFile = await readModelFile(path);
  const content = await contentSample(path);
  const sizes = chooseSizes(modelFile, options);
  const tokenBytes = kvBytesPerToken(modelFile.architecture, kvOf(modelFile, options.kv));
  const kvBytes = sizes.kvBlockCount * KV_BLOCK_TOKENS * tokenBytes;
  return {
    id: modelFile.id,
    bytes: packedBytes(modelFile.tensors) + kvBytes,
    content,
    open: async () => {
      const opened = await load(modelFile, sizes, options);
      // Tensors of one file by the description of another would be a model that nobody made.
      if ((await stampOf(path)) === stamp) return opened;
      await opened.close();
      throw new NibbleError('model_file_changed', { path });
    },
  };
}

/** Finds, reads and loads a model, and starts an engine on it. Rejects with a NibbleError and leaves nothing behind. */
export async function openModel(options: OpenModelOptions): Promise<OpenedModel> {
  return (await prepareModel(options)).open();
}

async function load(modelFile: ModelFile, sizes: LoadSizes, options: OpenModelOptions): Promise<OpenedModel> {
  const packFolder = options.packCacheBytes > 0 ? packsFolder(options.home) : undefined;
  const loading = loadNativeModel(modelFile, {
    ...options,
    ...sizes,
    slotCount: options.maxSequences,
    ...(packFolder === undefined ? {} : { packFolder }),
  });
  // Built while the native threads pack; what fails first must not leave the other behind.
  const [building, loaded] = await Promise.allSettled([
    Promise.resolve().then(() => createTokenizer(modelFile.tokenizer)),
    loading,
  ]);
  if (loaded.status === 'rejected') throw loaded.reason;
  if (building.status === 'rejected') {
    await loaded.value.close();
    throw building.reason;
  }
  const tokenizer = building.value;
  const nativeModel = loaded.value;
  let isClosing = false;
  const storing =
    packFolder === undefined
      ? Promise.resolve()
      : storePack(nativeModel, packFolder, options.packCacheBytes).catch((error: unknown) => {
          if (!isClosing) options.onWarning?.(`packed weights were not stored: ${asNibbleError(error).message}`);
        });
  const worker = new TokenizerWorker(modelFile.tokenizer);
  const constraints = new GrammarEngine({
    metadata: modelFile.tokenizer,
    endIds: tokenizer.endIds,
    vocabSize: modelFile.architecture.vocab,
  });
  const engine = createEngine({
    model: nativeModel,
    tokenizer,
    constraints,
    config: {
      ...sizes,
      sequencesMax: options.maxSequences,
      waitingMax: options.maxWaiting,
      waitingTokensMax: options.maxWaitingTokens,
      queueMsMax: options.queueSeconds * 1000,
      itlTargetMs: options.itlTarget,
      speculates: options.speculate === 'ngram',
    },
    ...(options.observer === undefined ? {} : { observer: options.observer }),
  });
  const chatTemplate = openChatTemplate(modelFile);
  const close = async () => {
    isClosing = true;
    await engine.close();
    await Promise.all([worker.close(), constraints.close(), chatTemplate?.close(), storing]);
  };
  try {
    await pinWanted({ engine, nativeModel, modelFile, tokenizer, ...sizes }, options, packFolder);
  } catch (error) {
    await close();
    throw error;
  }
  const encodeLong: OpenedModel['encodeLong'] = (text, how) => worker.encode(text, how);
  return { engine, tokenizer, modelFile, nativeModel, chatTemplate, encodeLong, close };
}

async function pinWanted(target: PinTarget, options: OpenModelOptions, folder: string | undefined): Promise<void> {
  const { pinPrefix, activations, packCacheBytes, onWarning } = options;
  const kv = kvOf(target.modelFile, options.kv);
  if (pinPrefix === undefined) return;
  const store = folder === undefined ? null : { folder, bytesMax: packCacheBytes };
  const warn = onWarning === undefined ? {} : { onWarning };
  options.onPinned?.(await pinPrefixes(target, { path: pinPrefix, activations, kv, store, ...warn }));
}
