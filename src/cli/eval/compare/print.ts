/** Where a comparison goes: stdout, and a report. */
import { printJsonResult, writeReport, writeStdout } from '../../output.js';
import { describeComparison, describeTable } from './present.js';
import { renderReport } from './report.js';
import type { Comparison } from './result.js';

/** Writes the report to `out`, if there is one, and prints JSON or a table. */
export async function printComparison(
  comparison: Comparison,
  { out, json }: { readonly out?: string; readonly json?: boolean },
): Promise<void> {
  if (out !== undefined) await writeReport(out, renderReport(comparison));
  if (json === true) {
    const { machine, reference } = comparison;
    return printJsonResult({ machine, model: reference.name }, describeComparison(comparison));
  }
  await writeStdout(describeTable(comparison));
}
