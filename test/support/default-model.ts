/** The default model for tests: $NIBBLE_TEST_MODEL, else the cache, else downloaded once. */
import { resolveModel } from '../../src/model/sources/resolve.js';

export function defaultModelPath(): Promise<string> {
  return resolveModel(process.env.NIBBLE_TEST_MODEL || 'default', {
    offline: process.env.NIBBLE_OFFLINE === '1' || process.env.NIBBLE_OFFLINE === 'true',
  });
}
