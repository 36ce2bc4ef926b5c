import { significant } from '../statistics.js';
import type { Column, Result } from './types.js';

export const isObject = (value: unknown): value is Result =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A field inside others, `peer.runs`; undefined where it isn't. `.` is the object itself. */
export function fieldAt(value: unknown, path: string): unknown {
  let at = value;
  for (const key of path === '.' ? [] : path.split('.')) at = isObject(at) ? at[key] : undefined;
  return at;
}

/** The rows of a table: a list's objects, or the one object. */
export function rowsAt(result: Result, path: string): readonly Result[] {
  const found = fieldAt(result, path);
  return (Array.isArray(found) ? found : [found]).filter(isObject);
}

/** A number, of a spread its median; null for anything else. */
export function numberAt(row: Result, path: string): number | null {
  const found = fieldAt(row, path);
  const value = isObject(found) ? found.median : found;
  return typeof value === 'number' ? value : null;
}

export function formatNumber(value: number, unit?: '%'): string {
  if (unit === '%') return `${(100 * value).toFixed(1)} %`;
  return significant(value).toLocaleString('en-US', { maximumSignificantDigits: 4 });
}

/** How a field is shown: a spread as its median and range, nothing as a dash. */
export function cell(row: Result, [, path, unit]: Column): string {
  const found = fieldAt(row, path);
  if (typeof found === 'number') return formatNumber(found, unit);
  if (isObject(found) && typeof found.median === 'number') {
    const [middle, low, high] = [found.median, found.min, found.max].map((value) =>
      typeof value === 'number' ? formatNumber(value, unit) : '',
    );
    return low === '' ? `${middle}` : `${middle} (${low}–${high})`;
  }
  if (typeof found === 'boolean') return found ? 'yes' : 'no';
  return typeof found === 'string' && found !== '' ? found.replaceAll('|', '\\|') : '–';
}
