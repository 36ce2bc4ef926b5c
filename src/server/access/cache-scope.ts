import { createHmac, randomBytes } from 'node:crypto';

/** New at each start, so that nobody can work out which names share a number. */
const secret = randomBytes(32);

/**
 * The number of a part of the prefix cache: sequences share what was computed of prompts within their part alone. How
 * many tokens of a prompt were cached, and how fast its answer begins, tells whoever may share it that somebody has
 * sent the same beginning. `key`: name of the API key whose part it is, null for everybody's; `salt`: of the request.
 */
export function cacheScope(key: string | null, salt: string | null): number {
  if (key === null && salt === null) return 0;
  const part = createHmac('sha256', secret).update(JSON.stringify([key, salt]));
  // 48 bits: a request can't be made to meet another's part by trying salts. Zero is everybody's.
  return part.digest().readUIntBE(0, 6) + 1;
}
