/**
 * What only the start of a server needed must not stay resident for months. Loading makes some 60 MiB of short-lived
 * JavaScript, for which V8 would double its young generation up to 32 MiB, and leaves garbage that nothing collects
 * before the first load.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadAddon } from '../native/load.js';

/** V8's own value. */
const GROWTH_FACTOR = 2;

/** So long after becoming ready, ms: collecting garbage takes time, and somebody may be waiting for an answer. */
export const SETTLE_MS = 500;

/**
 * Keeps the young generation at its first size until the returned function gives back what can be given back. The
 * young generation is collected by one thread: it has little to do, and helpers that wait for a core of
 * a busy team make everybody wait (4 to 15 ms for 0.8 ms on two cores with two threads).
 */
export function startSmall(): () => void {
  setFlagsFromString('--no-parallel-scavenge');
  setFlagsFromString('--semi-space-growth-factor=1');
  return () => {
    collectGarbage();
    loadAddon().trimMemory();
    setFlagsFromString(`--semi-space-growth-factor=${GROWTH_FACTOR}`);
  };
}

/** Two whole collections, 20 ms each: the second empties pages that the first has found to be mostly free. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc'); // for contexts made from now on: the program's own globals stay as they are
  setFlagsFromString('--optimize-for-size');
  const collect: unknown = runInNewContext('gc');
  for (let i = 0; i < 2 && typeof collect === 'function'; i += 1) collect();
  setFlagsFromString('--no-optimize-for-size');
  setFlagsFromString('--max-semi-space-size=0'); // the default: the flag before has lowered it for threads to come
  setFlagsFromString('--no-expose-gc');
}
