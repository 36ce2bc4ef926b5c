/** Prefixes that the operator pins: read from the disk, or computed and stored for the next start. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { configInvalid, NibbleError, reasonOf } from '../errors.js';
import { KV_BLOCK_TOKENS, PINNED_FILE_BYTES_MAX, PINNED_FILES_MAX } from '../limits.js';
import type { ModelFile, Tokenizer } from '../model/types.js';
import type { ActivationFormat, KvFormat, NativeModel } from '../native/contract.js';
import { addonPath } from '../native/load.js';
import type { PinningEngine } from './engine.js';
import { greedy } from './greedy.js';
import { evictPacks } from './pack-cache.js';
import { readPrefix, type StoredPrefix, storedBytes, writePrefix } from './prefix-store.js';
import type { Engine } from './types.js';

export type PinTarget = {
  readonly engine: PinningEngine;
  readonly nativeModel: NativeModel;
  readonly modelFile: ModelFile;
  readonly tokenizer: Tokenizer;
  readonly kvBlockCount: number;
};

export type PinOptions = {
  /** A text file, or a folder whose `.txt` files are meant. */
  readonly path: string;
  readonly activations: ActivationFormat | null;
  readonly kv: KvFormat;
  /** Where blocks are stored, and how much that folder may hold; null: nowhere. */
  readonly store: { readonly folder: string; readonly bytesMax: number } | null;
  readonly onWarning?: (message: string) => void;
};

/** What became of one prefix, tokens. */
export type PinnedPrefix = { readonly tokens: number; readonly restored: number; readonly computed: number };

const refuse = (message: string, cause?: unknown) => configInvalid('pinPrefix', message, cause);

/** The texts to pin, by name. Throws `config_invalid`. */
async function readPinnedTexts(path: string): Promise<readonly string[]> {
  try {
    const isFolder = (await stat(path)).isDirectory();
    const names = isFolder ? (await readdir(path)).filter((name) => name.endsWith('.txt')).sort() : [];
    const paths = isFolder ? names.map((name) => join(path, name)) : [path];
    if (paths.length === 0) throw refuse(`${path} has no .txt files`);
    if (paths.length > PINNED_FILES_MAX) throw refuse(`${path} has more than ${PINNED_FILES_MAX} .txt files`);
    const texts: string[] = [];
    for (const one of paths) {
      const { size } = await stat(one);
      if (size > PINNED_FILE_BYTES_MAX) throw refuse(`${one} has more than ${PINNED_FILE_BYTES_MAX} bytes`);
      texts.push(await readFile(one, 'utf8'));
    }
    return texts;
  } catch (error) {
    if (error instanceof NibbleError) throw error;
    throw refuse(`${path} can't be read: ${reasonOf(error)}`, error);
  }
}

/** Computes a prefix as any request does; its blocks are in the cache afterwards. Throws what the request throws. */
async function compute(engine: Engine, promptIds: Int32Array): Promise<void> {
  const quiet = { sampling: greedy, stop: [], logprobs: null, scorePrompt: false, ignoreEos: true };
  for (const generation of engine.submit([{ promptIds, maxTokens: 1, ...quiet }], new AbortController().signal)) {
    for await (const _event of generation);
  }
}

/** Everything that the content of a prefix's blocks depends on. */
async function identityOf(target: PinTarget, options: PinOptions, ids: Int32Array): Promise<string> {
  const { architecture } = target.modelFile;
  // Another build may compute other bits.
  const addon = createHash('sha256')
    .update(await readFile(addonPath()))
    .digest('hex');
  const { fileIdentity, kvBlockBytes } = target.nativeModel.info;
  const { activations, kv } = options;
  return JSON.stringify({ addon, fileIdentity, architecture, activations, kv, kvBlockBytes, ids: [...ids] });
}

/**
 * Pins the prefixes of `options.path` before the engine serves anybody: whole blocks of each, at most half of the pool
 * together. Throws `config_invalid`, or what computing throws; a store that fails is a warning.
 */
export async function pinPrefixes(target: PinTarget, options: PinOptions): Promise<readonly PinnedPrefix[]> {
  const { tokenizer, kvBlockCount } = target;
  const texts = await readPinnedTexts(options.path);
  const results: PinnedPrefix[] = [];
  for (const text of texts) {
    // As the prompt of a completion: special tokens of the text are meant.
    const ids = tokenizer.encode(text, { addSpecialTokens: true, parseSpecial: true });
    const whole = ids.subarray(0, ids.length - (ids.length % KV_BLOCK_TOKENS));
    const needed = whole.length / KV_BLOCK_TOKENS - target.engine.pinned.sharedWith(whole);
    if (target.engine.pinned.blockCount + needed > kvBlockCount / 2) {
      throw refuse(`the prefixes need more than half of the KV cache of ${kvBlockCount * KV_BLOCK_TOKENS} tokens`);
    }
    if (whole.length > 0) results.push(await pinOne(target, options, whole));
  }
  return results;
}

async function pinOne(target: PinTarget, options: PinOptions, ids: Int32Array): Promise<PinnedPrefix> {
  const { engine, nativeModel } = target;
  const { pinned } = engine;
  const blockCount = ids.length / KV_BLOCK_TOKENS;
  const { kvBlockBytes, fileIdentity } = nativeModel.info;
  const store = fileIdentity === '' ? null : options.store;
  const stored: StoredPrefix | null =
    store === null
      ? null
      : { ...store, identity: await identityOf(target, options, ids), blockCount, blockBytes: kvBlockBytes };
  const before = pinned.pin(ids).length;
  let isStored = false;
  if (stored !== null && before < blockCount) {
    isStored = await readPrefix(stored, before, (content) =>
      pinned.restore(ids, (block) => nativeModel.writeKvBlocks(Int32Array.of(block), content)),
    );
  }
  const restored = pinned.pin(ids).length - before;
  if (before + restored < blockCount) await compute(engine, ids);
  const blocks = pinned.pin(ids);
  const tokens = blocks.length * KV_BLOCK_TOKENS;
  const computed = tokens - (before + restored) * KV_BLOCK_TOKENS;
  if (stored !== null && store !== null && !isStored && blocks.length === blockCount) {
    await keep(nativeModel, stored, store.bytesMax, blocks).catch((error: unknown) => {
      options.onWarning?.(`a pinned prefix was not stored: ${reasonOf(error)}`);
    });
  }
  return { tokens, restored: restored * KV_BLOCK_TOKENS, computed };
}

async function keep(model: NativeModel, stored: StoredPrefix, bytesMax: number, blocks: Int32Array): Promise<void> {
  const bytes = storedBytes(stored);
  if (bytes > bytesMax) return;
  await evictPacks(stored.folder, bytesMax - bytes, Date.now()).catch(() => undefined);
  await writePrefix(stored, (index) => model.readKvBlocks(blocks.subarray(index, index + 1)));
}
