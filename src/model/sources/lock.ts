/**
 * A lock between processes: a file created exclusively, whose modification time its holder renews. A lock that wasn't
 * renewed for a while belongs to a dead process and is taken over; that works across containers that share a volume,
 * where a process id means nothing.
 */
import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

export type LockTimes = {
  readonly renewMs: number;
  readonly staleMs: number;
  readonly pollMs: number;
};

const defaultTimes: LockTimes = { renewMs: 5_000, staleMs: 30_000, pollMs: 200 };

/** Runs `work` while holding the lock; waits as long as another process holds it or until the signal aborts. */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  signal: AbortSignal | undefined,
  times: LockTimes = defaultTimes,
): Promise<T> {
  const owner = `${process.pid} ${randomUUID()}\n`;
  while (!(await tryCreate(path, owner))) {
    signal?.throwIfAborted();
    await removeIfStale(path, times.staleMs);
    await sleep(times.pollMs, undefined, signal === undefined ? {} : { signal });
  }
  const renewal = setInterval(() => {
    const now = new Date();
    // If the lock was removed from outside there is nothing to renew.
    utimes(path, now, now).catch(() => undefined);
  }, times.renewMs);
  renewal.unref();
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    if ((await readFile(path, 'utf8').catch(() => '')) === owner) await rm(path, { force: true });
  }
}

async function tryCreate(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(owner).finally(() => file.close());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Renames the lock away and looks again, so that of several waiters only one removes it, and never a fresh one. */
async function removeIfStale(path: string, staleMs: number): Promise<void> {
  const isStale = async (file: string) => {
    const status = await stat(file).catch(() => null);
    return status !== null && Date.now() - status.mtimeMs > staleMs;
  };
  if (!(await isStale(path))) return;
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if (!(await isStale(aside))) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}
