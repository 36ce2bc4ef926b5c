/** Small files of /sys: one line, a number or a word. */
import { readdirSync, readFileSync } from 'node:fs';

/** A sensor that can't be read; the message is for the operator. */
export class SensorError extends Error {}

/** Throws SensorError, also if it isn't a whole number ≥ 0. */
export function readCount(path: string): number {
  let text: string;
  try {
    text = readFileSync(path, 'latin1').trim();
  } catch (error) {
    throw new SensorError(whyUnreadable(path, error));
  }
  if (!/^\d{1,15}$/.test(text)) throw new SensorError(`${path} holds no number`);
  return Number(text);
}

function whyUnreadable(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'EACCES' || code === 'EPERM') return `no permission to read ${path}`;
  return code === 'ENOENT' || code === 'ENODEV' ? `${path} is gone` : `${path} can't be read: ${code}`;
}

/** The word in a file, or null if it can't be read. */
export function readWord(path: string): string | null {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return null;
  }
}

/** Names in a folder, sorted; none if it isn't there. */
export function listFolder(path: string): readonly string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}
