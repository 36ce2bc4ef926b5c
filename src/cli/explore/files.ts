/** The two files that `nibble explore` reads: what is to be computed, and what may be chosen. */
import Type, { type Static, type TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { dimensions, type Space, sweepElements } from '../../cost/explore/sweep.js';
import { NibbleError } from '../../errors.js';
import { EXPLORE_POINTS_MAX, RECIPE_BYTES_MAX } from '../../limits.js';
import { readJsonFile } from '../json-file.js';

const closed = { additionalProperties: false } as const;
const tokens = (minimum: number) => Type.Integer({ minimum, maximum: 131_072 });

const WorkloadFile = Type.Object(
  {
    /** Sequences at once. */
    batch: Type.Integer({ minimum: 1, maximum: 256 }),
    promptTokens: tokens(1),
    outputTokens: tokens(0),
  },
  closed,
);
export type WorkloadFile = Static<typeof WorkloadFile>;

const values = (maximum: number) =>
  Type.Array(Type.Number({ exclusiveMinimum: 0, maximum }), { minItems: 1, maxItems: 64 });
const counts = (maximum: number) => Type.Array(Type.Integer({ minimum: 1, maximum }), { minItems: 1, maxItems: 64 });

const SpaceFile = Type.Object(
  {
    elements: Type.Array(Type.Enum([...sweepElements]), { minItems: 1, maxItems: 8, uniqueItems: true }),
    recipes: Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), {
      minItems: 1,
      maxItems: 32,
      uniqueItems: true,
    }),
    rows: counts(4096),
    columns: counts(4096),
    weightBufferKiB: values(65_536),
    activationBufferKiB: values(65_536),
    outputBufferKiB: values(65_536),
    memoryGBs: values(100_000),
    clockMHz: values(10_000),
  },
  closed,
);
export type SpaceFile = Space & { readonly recipes: readonly string[] };

/** Without a file. */
export const defaultWorkload: WorkloadFile = { batch: 4, promptTokens: 512, outputTokens: 128 };
export const defaultSpace: SpaceFile = {
  elements: [...sweepElements],
  recipes: ['f16', 'w8a8', 'w4a16', 'w4a8', 'w4a4', 'tender-int8', 'tender-int4'],
  rows: [4, 8, 16, 32, 64, 128],
  columns: [8, 16, 32, 64, 128],
  weightBufferKiB: [16, 32, 64, 128, 256],
  activationBufferKiB: [16, 32, 64, 128, 256],
  outputBufferKiB: [16, 32, 64, 128],
  memoryGBs: [4, 8, 16, 32, 64],
  clockMHz: [500],
};

async function readJson<T extends TSchema>(path: string, schema: T): Promise<Static<T>> {
  const invalid = (message: string, cause?: unknown) =>
    new NibbleError('scenario_invalid', { path, message }, { cause });
  const value = await readJsonFile(path, RECIPE_BYTES_MAX, invalid);
  if (Value.Check(schema, value)) return value;
  const [first] = Value.Errors(schema, value);
  throw invalid(first === undefined ? 'it does not fit' : `${first.instancePath || 'the file'} ${first.message}`);
}

export const readWorkload = async (path: string | undefined): Promise<WorkloadFile> =>
  path === undefined ? defaultWorkload : readJson(path, WorkloadFile);

export const readSpace = async (path: string | undefined): Promise<SpaceFile> =>
  path === undefined ? defaultSpace : readJson(path, SpaceFile);

/** Throws `scenario_invalid` if the space has more points than are swept. */
export function checkPoints(path: string | undefined, points: number): void {
  if (points > 0 && points <= EXPLORE_POINTS_MAX) return;
  const message =
    points === 0 ? 'no element runs any of the recipes' : `it has ${points} points; the limit is ${EXPLORE_POINTS_MAX}`;
  throw new NibbleError('scenario_invalid', { path: path ?? 'space', message });
}

/** How many of each dimension, for people. */
export const describeSpace = (space: SpaceFile): string =>
  dimensions.map((name) => `${name} ${space[name].join(' ')}`).join('; ');
