import { readFile, stat } from 'node:fs/promises';
import { NibbleError, reasonOf } from '../errors.js';

/** Makes the error of a file: what is wrong with it, and what that was found by. */
export type Fail = (message: string, cause?: unknown) => NibbleError;

/** A file of the user's, which may be anything: its JSON, unchecked. Throws what `fail` makes of the fault. */
export async function readJsonFile(path: string, bytesMax: number, fail: Fail): Promise<unknown> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax) throw fail(`it has ${size} bytes; the limit is ${bytesMax}`);
    // Some editors put a mark before a text that JSON doesn't know.
    return JSON.parse((await readFile(path, 'utf8')).replace(/^\uFEFF/, ''));
  } catch (cause) {
    if (cause instanceof NibbleError) throw cause;
    const reason = reasonOf(cause);
    throw fail(cause instanceof SyntaxError ? `it is not valid JSON: ${reason}` : `it can't be read: ${reason}`, cause);
  }
}
