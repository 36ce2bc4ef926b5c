import type { ExportRow } from '../../metering/ledger/types.js';
import { type Column, columns } from './columns.js';

/** Quoted where it has to be. A spreadsheet must not take a name for a formula: those that look like one get a `'`. */
function textCell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function cell({ type, read }: Column, row: ExportRow): string {
  const value = read(row);
  if (value === null) return '';
  if (typeof value === 'string') return textCell(value);
  return type === 'time' ? new Date(value).toISOString() : String(value);
}

/** The first line of a CSV file (RFC 4180, but for the plain line breaks). */
export const csvHead = `${columns.map(({ name }) => name).join(',')}\n`;

export function csvLines(rows: readonly ExportRow[]): string {
  return rows.map((row) => `${columns.map((column) => cell(column, row)).join(',')}\n`).join('');
}
