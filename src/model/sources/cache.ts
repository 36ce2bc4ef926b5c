/** The folder of downloaded models, and what is known about each file in it. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Stands beside the model as `<file>.json`. */
export type CacheRecord = {
  readonly bytes: number;
  readonly sha256: string;
  /** `pip` or `hub`, with what was asked for. */
  readonly origin: string;
};

/** `models` in Nibble's own folder: the setting `home`, else `$XDG_CACHE_HOME/nibble`, else `~/.cache/nibble`. */
export function modelsFolder(home: string | null, environment: Environment): string {
  if (home !== null) return join(home, 'models');
  // The XDG specification says to ignore a relative path.
  const xdg = environment.XDG_CACHE_HOME ?? '';
  return join(isAbsolute(xdg) ? xdg : join(environment.HOME || homedir(), '.cache'), 'nibble', 'models');
}

/** Size in bytes, or null if there is no such file. */
export async function fileBytes(path: string): Promise<number | null> {
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
  return status?.isFile() ? status.size : null;
}

/** SHA-256 of a whole file, hex. */
export async function fileSha256(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const options = { highWaterMark: 1 << 20 };
  for await (const chunk of createReadStream(path, signal === undefined ? options : { ...options, signal })) {
    hash.update(chunk);
  }
  return hash.digest('hex');
}

/** The record of a cached file, or null if there is none that makes sense. */
export async function readRecord(path: string): Promise<CacheRecord | null> {
  const text = await readFile(`${path}.json`, 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is CacheRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { bytes, sha256, origin } = value as Partial<Record<keyof CacheRecord, unknown>>;
  return (
    Number.isSafeInteger(bytes) &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(sha256) &&
    typeof origin === 'string'
  );
}

/** Gives a complete, verified file its name. The record goes first: a named file is always a whole one. */
export async function commit(temporary: string, path: string, record: CacheRecord): Promise<void> {
  await writeFile(`${path}.json`, `${JSON.stringify(record)}\n`);
  await rename(temporary, path);
}
