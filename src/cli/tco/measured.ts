/** Reads back what `nibble poc --json` printed: how fast this box is with each recipe. */
import Type from 'typebox';
import { Value } from 'typebox/value';
import type { RecipeFigures } from '../../cost/tco/scenario.js';
import { NibbleError } from '../../errors.js';
import { SCENARIO_BYTES_MAX } from '../../limits.js';
import { readJsonFile } from '../json-file.js';
import { recipeSchema } from './schema.js';

const Measured = Type.Object({ recipes: Type.Array(recipeSchema, { minItems: 1, maxItems: 32 }) });

/** Throws `data_unreadable`. */
export async function readMeasured(path: string): Promise<readonly RecipeFigures<number>[]> {
  const fail = (message: string, cause?: unknown) =>
    new NibbleError('data_unreadable', { path, message }, { param: 'measured', cause });
  const content = await readJsonFile(path, SCENARIO_BYTES_MAX, fail);
  if (Value.Check(Measured, content)) return content.recipes;
  const [error] = Value.Errors(Measured, content);
  throw fail(`it is no result of nibble poc: ${error?.instancePath ?? ''} ${error?.message ?? ''}`);
}
