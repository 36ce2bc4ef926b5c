/** `nibble cost export`: the rows of a ledger for a spreadsheet or a data frame. */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { configInvalid, NibbleError } from '../../errors.js';
import type { ExportRow } from '../../metering/ledger/types.js';
import { writeStdout } from '../output.js';

type ExportOptions = {
  readonly ledger: string;
  readonly format: 'csv' | 'parquet';
  readonly out?: string;
  readonly from?: string;
  readonly to?: string;
};

/** Any time that JavaScript knows; a date alone is midnight, UTC. */
function readTime(key: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = Date.parse(text);
  if (!Number.isNaN(ms)) return ms;
  throw configInvalid(key, 'must be a time as 2026-01-31T12:00:00Z');
}

/** Beyond any time of a row; what JavaScript's dates end with. */
const lastMs = 8.64e15;

async function exportRows({ ledger, format, out, from, to }: ExportOptions): Promise<void> {
  const [fromMs, toMs] = [readTime('from', from, 0), readTime('to', to, lastMs)];
  if (format === 'parquet' && out === undefined) {
    throw configInvalid('out', 'Parquet goes into a file');
  }
  if (out !== undefined && existsSync(out)) throw new NibbleError('output_exists', { path: out });
  if (!existsSync(ledger))
    throw new NibbleError('ledger_unreadable', { path: ledger, message: 'there is no such file' });
  const [{ openDatabase, LedgerError }, { pages }] = await Promise.all([
    import('../../metering/ledger/store.js'),
    import('../../metering/ledger/report.js'),
  ]);
  try {
    const database = openDatabase(ledger, true);
    try {
      await writeRows(pages(database, fromMs, toMs), format, out);
    } finally {
      database.close();
    }
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    throw new NibbleError('ledger_unreadable', { path: ledger, message: error.message }, { cause: error });
  }
}

async function writeRows(
  pages: Iterable<readonly ExportRow[]>,
  format: ExportOptions['format'],
  out: string | undefined,
): Promise<void> {
  if (format === 'parquet' && out !== undefined) {
    const { writeParquet } = await import('./parquet.js');
    return writeParquet(out, pages);
  }
  const { csvHead, csvLines } = await import('./csv.js');
  const { appendFileSync } = await import('node:fs');
  const write = out === undefined ? writeStdout : (text: string) => appendFileSync(out, text);
  await write(csvHead);
  for (const rows of pages) await write(csvLines(rows));
}

export function registerCost(program: Command): void {
  const cost = program.command('cost').description('What requests have cost.').helpCommand(false);
  cost
    .command('export')
    .description('Write the rows of a ledger (`nibble serve --ledger`) as CSV or Parquet; the server may run.')
    .requiredOption('--ledger <file>', 'the ledger')
    .addOption(new Option('--format <format>', 'form of the rows').choices(['csv', 'parquet']).default('csv'))
    .option('--out <file>', 'a new file; CSV without it goes to stdout')
    .option('--from <time>', 'requests that began then or later, as 2026-01-31 or 2026-01-31T12:00:00Z')
    .option('--to <time>', 'requests that began before')
    .action(exportRows);
}
