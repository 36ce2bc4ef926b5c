/** Files of the user's that hold a JSON object in each line. They may be anything until they are checked. */
import { NibbleError } from '../errors.js';

/** Makes the error of a line: what is wrong with it. */
export type LineFail = (message: string) => NibbleError;

export type JsonLine = {
  /** From 1. */
  readonly number: number;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly fail: LineFail;
};

/** `param`: the option that names the file. Throws `data_invalid`, which quotes nothing of the line. */
export function readJsonLine(text: string, path: string, number: number, param: string): JsonLine {
  const fail = (message: string) => new NibbleError('data_invalid', { path, line: number, message }, { param });
  let value: unknown;
  try {
    // Some editors put a mark before a text that JSON doesn't know.
    value = JSON.parse(number === 1 ? text.replace(/^\uFEFF/, '') : text);
  } catch {
    throw fail('is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('is not an object');
  return { number, fields: value as JsonLine['fields'], fail };
}

/** The lines of a text; empty ones are left out. Throws as `readJsonLine`. */
export function* jsonLines(text: string, path: string, param: string): Generator<JsonLine> {
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() !== '') yield readJsonLine(line, path, index + 1, param);
  }
}
