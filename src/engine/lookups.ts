/**
 * When matrices of bit planes are looked up rather than multiplied: up to how many tokens of a step, by their bits.
 * What pays differs from machine to machine, so `nibble tune` measures it and leaves the answer in a file. Results of
 * both ways are the same, bit for bit.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import { LOOKUP_TOKENS_MAX, TUNING_BYTES_MAX } from '../limits.js';
import { packsFolder } from '../model/sources/resolve.js';
import type { CpuInfo, LookupTokens } from '../native/contract.js';

/**
 * Without a measurement: where the two kernels cross on Zen 5, AVX2 or AVX-512 (2048 × 2048, one thread).
 */
export const defaultLookups: LookupTokens = { w1: 16, w2: 8, w3: 4, w4: 4 };

const count = Type.Integer({ minimum: 0, maximum: LOOKUP_TOKENS_MAX });
const closed = { additionalProperties: false } as const;
const tuningSchema = Type.Object(
  {
    version: Type.Literal(1),
    cpu: Type.String({ maxLength: 200 }),
    level: Type.String({ maxLength: 20 }),
    lookups: Type.Object({ w1: count, w2: count, w3: count, w4: count }, closed),
  },
  closed,
);
export type Tuning = Static<typeof tuningSchema>;

/** Beside the packed weights: what a machine can do with them. */
export const tuningFile = (home: string | null): string => join(dirname(packsFolder(home)), 'tuning.json');

/** What `nibble tune` measured on this CPU at this level; null: nothing, or on another. Never fails. */
async function readTuning(home: string | null, { brand, level }: CpuInfo): Promise<Tuning | null> {
  try {
    const text = await readFile(tuningFile(home), 'utf8');
    const value: unknown = text.length > TUNING_BYTES_MAX ? null : JSON.parse(text);
    return Value.Check(tuningSchema, value) && value.cpu === brand && value.level === level ? value : null;
  } catch {
    return null;
  }
}

/** Replaces the file as a whole. Rejects as `node:fs` does. */
export async function writeTuning(
  home: string | null,
  { brand, level }: CpuInfo,
  lookups: LookupTokens,
): Promise<void> {
  const path = tuningFile(home);
  const tuning: Tuning = { version: 1, cpu: brand, level, lookups };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, `${JSON.stringify(tuning, null, 2)}\n`);
  await rename(draft, path);
}

/** Those that are set, else those that were measured here, else `defaultLookups`. */
export async function chooseLookups(
  wanted: LookupTokens | null,
  home: string | null,
  cpu: CpuInfo,
): Promise<{ readonly lookups: LookupTokens; readonly from: 'setting' | 'tuning' | 'default' }> {
  if (wanted !== null) return { lookups: wanted, from: 'setting' };
  const tuning = await readTuning(home, cpu);
  return tuning === null ? { lookups: defaultLookups, from: 'default' } : { lookups: tuning.lookups, from: 'tuning' };
}
