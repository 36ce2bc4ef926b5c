/** Keeps the folder of packed weights and pinned prefixes within its bound; docs/decisions/0018-pack-cache.md. */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NativeModel } from '../native/contract.js';

/** A temporary file this old belongs to a process that died, ms. */
const ABANDONED_MS = 3_600_000;

type Entry = { readonly path: string; readonly bytes: number; readonly usedMs: number };

/** The files of the folder whose names end so; those that vanish meanwhile are left out. */
async function entriesOf(folder: string, ending: string): Promise<Entry[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(ending));
  const found = await Promise.all(
    names.map(async (name): Promise<Entry | null> => {
      const path = join(folder, name);
      const status = await stat(path).catch(() => null);
      return status === null ? null : { path, bytes: status.size, usedMs: status.mtimeMs };
    }),
  );
  return found.filter((entry) => entry !== null);
}

/** Removes packs and prefixes used longest ago until the rest fits into `bytesMax`, and what dead processes left. */
export async function evictPacks(folder: string, bytesMax: number, nowMs: number): Promise<void> {
  for (const { path, usedMs } of await entriesOf(folder, '.tmp')) {
    if (nowMs - usedMs > ABANDONED_MS) await rm(path, { force: true });
  }
  const packs = [...(await entriesOf(folder, '.pack')), ...(await entriesOf(folder, '.prefix'))];
  packs.sort((a, b) => a.usedMs - b.usedMs);
  let total = packs.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { path, bytes } of packs) {
    if (total <= bytesMax) return;
    await rm(path, { force: true });
    total -= bytes;
  }
}

/**
 * Stores the weights that were packed for this start, if the next one can use them, and keeps the folder within
 * `bytesMax`. Rejects when it can't.
 */
export async function storePack(model: NativeModel, folder: string, bytesMax: number): Promise<void> {
  const { pack, packedBytes } = model.info;
  const stores = pack === 'made' && packedBytes <= bytesMax;
  if (!stores && pack !== 'stored') return;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Room first: a disk that is nearly full can still take what replaces an old pack.
  await evictPacks(folder, stores ? bytesMax - packedBytes : bytesMax, Date.now());
  if (stores) await model.storePack();
}
