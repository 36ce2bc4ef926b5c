import type { Config } from '../config.js';
import type { OpenModelOptions } from '../engine/open-types.js';
import type { LookupTokens } from '../native/contract.js';

/** The setting `lookups`, such as `16,8,4,0`. */
export function readLookups(text: string | null): LookupTokens | null {
  if (text === null) return null;
  const [w1 = 0, w2 = 0, w3 = 0, w4 = 0] = text.split(',').map(Number);
  return { w1, w2, w3, w4 };
}

/** The options of `openModel` that the settings decide. */
export function openOptions(config: Config): OpenModelOptions {
  const { model, threads, activations, kv, contextTokens, kvTokens, offline, home } = config;
  const { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate } = config;
  const queue = { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate };
  const packCacheBytes = config.packCacheMb * 1e6;
  const lookups = readLookups(config.lookups);
  const sizes = { contextTokens, kvTokens, packCacheBytes };
  return { model, threads, activations, lookups, kv, ...sizes, offline, home, ...queue };
}
