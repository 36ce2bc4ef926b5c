/** API keys: who may ask, and how much. Only hashes are kept; keys themselves are never stored or logged. */
import { createHash, timingSafeEqual } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import { configInvalid } from '../../errors.js';
import { API_KEYS_MAX } from '../../limits.js';
import { readSettingJson } from '../../setting-file.js';
import { Allowance, type AllowanceLimits } from './allowance.js';

const limit = Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000 }));
const KeyFile = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          name: Type.String({ pattern: '^[\\w.@-]{1,64}$' }),
          /** Hexadecimal SHA-256 of the key. */
          sha256: Type.String({ pattern: '^[0-9a-fA-F]{64}$' }),
          requestsPerMinute: limit,
          tokensPerMinute: limit,
          concurrency: limit,
          /** Cached prompts are shared with the other keys that say so; by default with nobody. */
          sharesCache: Type.Optional(Type.Boolean()),
        },
        { additionalProperties: false },
      ),
      { maxItems: API_KEYS_MAX },
    ),
  },
  { additionalProperties: false },
);
type KeyFile = Static<typeof KeyFile>;

/** Settings that name a file of keys. */
type KeySetting = 'apiKeyFile' | 'adminKeyFile';

/** A key as configured. */
export type KeyEntry = {
  readonly name: string;
  readonly hash: Buffer;
  readonly limits: AllowanceLimits;
  /** Left out: false. */
  readonly sharesCache?: boolean;
};

/** A key as it is used: its name is for logs and for fairness between users. */
export type ApiKey = { readonly name: string; readonly allowance: Allowance; readonly sharesCache: boolean };

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
function parse(path: string, key: KeySetting): KeyFile {
  const content = readSettingJson(key, path);
  if (Value.Check(KeyFile, content)) return content;
  const [first] = Value.Errors(KeyFile, content);
  throw configInvalid(key, `${path} is not a list of keys: ${first?.instancePath ?? ''} ${first?.message ?? ''}`);
}

/**
 * The keys of a file (or none) and those of a variable, which has the keys themselves with commas between. Throws
 * `config_invalid`. An empty list means that no key is needed; a file that lists none is an error, for it would open
 * the server to everybody.
 */
export function readKeys(
  path: string | null,
  variable: string | undefined,
  setting: KeySetting = 'apiKeyFile',
): readonly KeyEntry[] {
  const given = (variable ?? '').split(',').map((key) => key.trim());
  // The name is in the ledger of costs for years: it must not pass to another key when the list changes.
  const fromVariable = given
    .filter((key) => key !== '')
    .map((key) => sha256(key))
    .map((hash): KeyEntry => ({ name: `variable-${hash.toString('hex', 0, 4)}`, hash, limits: {} }));
  if (path === null) return fromVariable;
  const { keys } = parse(path, setting);
  if (keys.length === 0) throw configInvalid(setting, `${path} has no keys`);
  const names = new Set(keys.map(({ name }) => name));
  if (names.size < keys.length) throw configInvalid(setting, `${path} has two keys of one name`);
  const fromFile = keys.map(({ name, sha256: hex, sharesCache = false, ...limits }): KeyEntry => {
    return { name, hash: Buffer.from(hex, 'hex'), limits, sharesCache };
  });
  return [...fromFile, ...fromVariable];
}

type Known = ApiKey & { readonly entry: KeyEntry };

/** The keys in force. They can be replaced while the server runs; what a key has used up is not forgotten then. */
export class KeyStore {
  #known: readonly Known[] = [];
  readonly #now: () => number;

  /** `now`: milliseconds of a monotonic clock. */
  constructor(entries: readonly KeyEntry[], now: () => number = () => performance.now()) {
    this.#now = now;
    this.replace(entries);
  }

  /** Whether a key is needed at all. */
  get isClosed(): boolean {
    return this.#known.length > 0;
  }

  replace(entries: readonly KeyEntry[]): void {
    const before = this.#known;
    this.#known = entries.map((entry) => {
      const same = before.find((known) => known.entry.hash.equals(entry.hash));
      const allowance = same?.allowance ?? new Allowance(entry.limits, this.#now);
      allowance.limits = entry.limits;
      return { name: entry.name, allowance, sharesCache: entry.sharesCache ?? false, entry };
    });
  }

  /** The key in an `Authorization` header; null if there is none, or none that is known. */
  find(header: string | undefined): ApiKey | null {
    const [, given] = /^Bearer +(\S+) *$/i.exec(header ?? '') ?? [];
    if (given === undefined) return null;
    const hash = sha256(given);
    // All are compared, and each in constant time: how long it takes says nothing about a key.
    let found: ApiKey | null = null;
    for (const known of this.#known) if (timingSafeEqual(known.entry.hash, hash)) found = known;
    return found;
  }
}
