import type { Config } from '../config.js';
import type { OpenModelOptions } from '../engine/open-types.js';

/** The options of `openModel` that the settings decide. */
export function openOptions(config: Config): OpenModelOptions {
  const { model, threads, activations, kv, contextTokens, kvTokens, offline, home } = config;
  const { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate } = config;
  const queue = { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate };
  const packCacheBytes = config.packCacheMb * 1e6;
  return { model, threads, activations, kv, contextTokens, kvTokens, packCacheBytes, offline, home, ...queue };
}
