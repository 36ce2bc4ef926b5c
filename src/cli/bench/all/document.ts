import { cell, fieldAt, formatNumber, isObject, rowsAt } from './fields.js';
import { type Judged, judge } from './targets.js';
import type { Outcome, Table } from './types.js';

export type Whole = {
  /** Of the checkout, or the package's version. */
  readonly commit: string;
  readonly date: string;
  readonly minutes: number;
  /** Small loads: nothing is judged. */
  readonly isQuick: boolean;
  readonly command: string;
  readonly outcomes: readonly Outcome[];
};

function markdownTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

function tableOf(outcome: Outcome, { rows: path, columns }: Table): string | null {
  const rows = outcome.result === null ? [] : rowsAt(outcome.result, path);
  if (rows.length === 0) return null;
  return markdownTable(
    columns.map(([head]) => head),
    rows.map((row) => columns.map((column) => cell(row, column))),
  );
}

function sectionText(outcome: Outcome): string {
  const { section, command, seconds, failure } = outcome;
  const tables = section.tables.map((table) => tableOf(outcome, table)).filter((text) => text !== null);
  const body = failure === null ? tables.join('\n\n') : `Not measured: ${failure}`;
  return `## ${section.title}\n\n${section.about} \`${command}\` (${seconds} s)\n\n${body}`;
}

const wantedOf = ({ target: { atLeast, atMost, unit } }: Judged): string =>
  [
    ...(atLeast === undefined ? [] : [`≥ ${formatNumber(atLeast, unit)}`]),
    ...(atMost === undefined ? [] : [`≤ ${formatNumber(atMost, unit)}`]),
  ].join(', ');

function targetsText(judged: readonly Judged[]): string {
  const row = (one: Judged) => {
    const { target, value, isMet } = one;
    return [target.what, wantedOf(one), formatNumber(value, target.unit), isMet ? 'met' : target.otherwise];
  };
  const missed = judged.filter(({ isMet }) => !isMet).length;
  const table = markdownTable(['figure', 'wanted', 'measured', ''], judged.map(row));
  return `## What was wanted\n\n${judged.length - missed} of ${judged.length} figures reach what the project asks of itself.\n\n${table}`;
}

/** Where a peer was faster: ratios below 1 of any table. */
function peersText(outcomes: readonly Outcome[]): string {
  const lines = outcomes.flatMap(({ section, result }) =>
    (result === null ? [] : [...rowsAt(result, 'runs'), ...rowsAt(result, 'peer.runs')]).flatMap((row) =>
      ['ratio', 'ratio.prefill', 'ratio.decode'].flatMap((path) => {
        const ratio = fieldAt(row, `${path}.median`);
        const isLost = typeof ratio === 'number' && ratio < 1 && section.name !== 'summarize';
        return isLost ? [`- ${section.title}, ${String(row.peer ?? 'llama.cpp')}: ${path} ${formatNumber(ratio)}`] : [];
      }),
    ),
  );
  const speed = lines.length === 0 ? ['- Speed: in no measurement of this run.'] : lines;
  const scope =
    '- Scope: llama.cpp and its servers run many more architectures and file types, use GPUs, and exist for macOS, ' +
    'Windows and phones; Nibble runs the Llama family on CPUs under Linux.';
  return `## What peers do better\n\n${[...speed, scope].join('\n')}`;
}

/** The machine of the first result that has one. */
function machineText(outcomes: readonly Outcome[]): string {
  const machine = outcomes.map(({ result }) => fieldAt(result, 'machine')).find(isObject);
  const model = outcomes.map(({ result }) => fieldAt(result, 'model')).find((name) => typeof name === 'string');
  const { cpu, isa, threads, cores } = machine ?? {};
  return `${String(cpu)}, ${String(cores)} cores, level ${String(isa)}, ${String(threads)} threads; model ${String(model)}`;
}

/** The whole as one Markdown page. */
export function benchmarksPage({ commit, date, minutes, isQuick, command, outcomes }: Whole): string {
  const head =
    `# Benchmarks\n\nWritten by \`${command}\` in ${minutes} minutes, ${date}, commit ${commit}. ${machineText(outcomes)}. ` +
    'Every section names its own command; `--json` gives its figures to a program ([json.md](json.md)). A spread is ' +
    'shown as median (lowest–highest).';
  const judged = isQuick
    ? ['Small loads and few rounds: this page shows that everything works, not how fast.']
    : [targetsText(judge(outcomes)), peersText(outcomes)];
  const parts = [head, ...judged, ...outcomes.map(sectionText)];
  return `${parts.join('\n\n')}\n`;
}
