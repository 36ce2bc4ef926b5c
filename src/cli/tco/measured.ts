/** Reads back what `nibble poc --json` printed: how fast this box is with each recipe. */
import { readFile, stat } from 'node:fs/promises';
import Type from 'typebox';
import { Value } from 'typebox/value';
import type { RecipeFigures } from '../../cost/tco/scenario.js';
import { NibbleError } from '../../errors.js';
import { SCENARIO_BYTES_MAX } from '../../limits.js';
import { recipeSchema } from './schema.js';

const Measured = Type.Object({ recipes: Type.Array(recipeSchema, { minItems: 1, maxItems: 32 }) });

/** Throws `data_unreadable`. */
export async function readMeasured(path: string): Promise<readonly RecipeFigures<number>[]> {
  const fail = (message: string, cause?: unknown) =>
    new NibbleError('data_unreadable', { path, message }, { param: 'measured', cause });
  let content: unknown;
  try {
    const { size } = await stat(path);
    if (size > SCENARIO_BYTES_MAX) throw fail(`it has ${size} bytes; the limit is ${SCENARIO_BYTES_MAX}`);
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof NibbleError) throw cause;
    throw fail(cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (Value.Check(Measured, content)) return content.recipes;
  const [error] = Value.Errors(Measured, content);
  throw fail(`it is no result of nibble poc: ${error?.instancePath ?? ''} ${error?.message ?? ''}`);
}
