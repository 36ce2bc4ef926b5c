/** Where a comparison goes: stdout, and a report. */
import { writeFile } from 'node:fs/promises';
import { NibbleError } from '../../../errors.js';
import { printJsonResult, writeStdout } from '../../output.js';
import { describeComparison, describeTable } from './present.js';
import { renderReport } from './report.js';
import type { Comparison } from './result.js';

/** Fails before the work is done rather than after: an unwritable report would lose it. */
export async function checkWritable(path: string): Promise<void> {
  await writeFile(path, '').catch((cause: Error) => {
    throw new NibbleError('invalid_request', { message: `${path} can't be written: ${cause.message}` }, { cause });
  });
}

/** Writes the report to `out`, if there is one, and prints JSON or a table. */
export async function printComparison(
  comparison: Comparison,
  { out, json }: { readonly out?: string; readonly json?: boolean },
): Promise<void> {
  if (out !== undefined) await writeFile(out, renderReport(comparison));
  if (json === true) {
    const { machine, reference } = comparison;
    return printJsonResult({ machine, model: reference.name }, describeComparison(comparison));
  }
  await writeStdout(describeTable(comparison));
}
