import { fileWriter, ParquetWriter, type SchemaElement } from 'hyparquet-writer';
import type { ExportRow } from '../../metering/ledger/types.js';
import { type Column, columns } from './columns.js';

const types = {
  text: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  time: { type: 'INT64', converted_type: 'TIMESTAMP_MILLIS' },
  count: { type: 'INT64' },
  real: { type: 'DOUBLE' },
} as const;

const schema: SchemaElement[] = [
  { name: 'ledger', num_children: columns.length },
  ...columns.map(({ name, type }) => ({ name, ...types[type], repetition_type: 'OPTIONAL' as const })),
];

function valuesOf({ type, read }: Column, rows: readonly ExportRow[]): unknown[] {
  return rows.map((row) => {
    const value = read(row);
    if (value === null) return null;
    if (type === 'time') return new Date(value);
    return type === 'count' ? BigInt(value) : value;
  });
}

/** Writes a Parquet file, each page of rows as a group of its own. What is at `path` is replaced. */
export function writeParquet(path: string, pages: Iterable<readonly ExportRow[]>): void {
  const writer = new ParquetWriter({ writer: fileWriter(path), schema });
  for (const rows of pages) {
    const columnData = columns.map((column) => ({ name: column.name, data: valuesOf(column, rows) }));
    writer.write({ columnData, rowGroupSize: Math.max(1, rows.length) });
  }
  writer.finish();
}
