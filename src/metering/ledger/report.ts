/** What is read from the ledger: sums for reports, and rows for export. */
import type Database from 'libsql';
import type { Sums } from '../tally.js';
import { attempt } from './store.js';
import type { ExportRow, Group, Outcome, Report, ReportLine, ReportQuery, RowKind } from './types.js';

const sums = [
  ...['prompt_tokens', 'cached_tokens', 'completion_tokens'],
  ...['prefill_joules', 'decode_joules', 'idle_joules', 'tdp_joules', 'machine_seconds'],
  ...['energy_cost', 'hardware_cost', 'carbon_grams'],
];
const currency = `coalesce(p.currency, '')`;
const from = 'FROM entries e LEFT JOIN prices p ON p.id = e.prices WHERE e.started_ms >= ? AND e.started_ms < ?';

type Value = string | number;

function readLine(values: readonly Value[], groups: number): ReportLine {
  const texts = values.slice(0, groups + 1).map(String);
  const numbers = values.slice(groups + 1).map(Number);
  const [requests = 0, promptTokens = 0, cachedTokens = 0, completionTokens = 0, ...rest] = numbers;
  return {
    group: texts.slice(0, groups),
    currency: texts[groups] ?? '',
    ...{ requests, promptTokens, cachedTokens, completionTokens },
    ...readSums(rest),
  };
}

function readSums(values: readonly number[]): Sums {
  const [prefillJoules = 0, decodeJoules = 0, idleJoules = 0, tdpJoules = 0, machineSeconds = 0, ...money] = values;
  const [energyCost = 0, hardwareCost = 0, carbonGrams = 0] = money;
  return {
    ...{ prefillJoules, decodeJoules, idleJoules, tdpJoules, machineSeconds },
    ...{ energyCost, hardwareCost, carbonGrams },
  };
}

const sumList = sums.map((name) => `sum(e.${name})`).join(', ');

function linesOf(
  database: Database.Database,
  kind: RowKind,
  { fromMs, toMs, key }: ReportQuery,
  page: { readonly groupBy: readonly Group[]; readonly after: readonly string[] | null; readonly limit: number },
): readonly ReportLine[] {
  const { groupBy, after, limit } = page;
  const columns = [...groupBy.map((group) => `e.${group}`), currency].join(', ');
  const values: Value[] = [fromMs, toMs, kind];
  let where = `${from} AND e.kind = ?`;
  if (key !== null) {
    where += ' AND e.key = ?';
    values.push(key);
  }
  if (after !== null) {
    where += ` AND (${columns}) > (${after.map(() => '?').join(', ')})`;
    values.push(...after);
  }
  const order = `GROUP BY ${columns} ORDER BY ${columns} LIMIT ${Math.floor(limit)}`;
  const rows = database.prepare(`SELECT ${columns}, count(*), ${sumList} ${where} ${order}`).raw().all(values);
  return (rows as (readonly Value[])[]).map((row) => readLine(row, groupBy.length));
}

/** Currencies of one site are few. */
const currenciesMax = 100;

/** Sums over a time; complete for what was committed. Throws a LedgerError. */
export function report(database: Database.Database, query: ReportQuery): Report {
  return attempt(() => {
    const { limit, key, fromMs, toMs } = query;
    const lines = linesOf(database, 'request', query, { ...query, limit: limit + 1 });
    const all = { groupBy: [], after: null, limit: currenciesMax };
    const others = (kind: RowKind) => (key === null ? linesOf(database, kind, query, all) : []);
    const owner = key === null ? '' : ' AND e.key = ?';
    const prices = database
      .prepare(`SELECT DISTINCT p.content ${from}${owner} AND p.id IS NOT NULL ORDER BY p.id LIMIT ${currenciesMax}`)
      .raw()
      .all(key === null ? [fromMs, toMs] : [fromMs, toMs, key]) as (readonly string[])[];
    return {
      lines: lines.slice(0, limit),
      hasMore: lines.length > limit,
      idle: others('idle'),
      own: others('own'),
      prices: prices.map(([content = '']) => content),
    };
  });
}

/** Every row that began in [fromMs, toMs), by time, so many at once. Throws a LedgerError. */
export function* pages(
  database: Database.Database,
  fromMs: number,
  toMs: number,
  pageRows = 10_000,
): Generator<readonly ExportRow[]> {
  const columns = `e.run, e.number, e.kind, e.started_ms, e.ended_ms, e.outcome, e.key, e.model, e.recipe, ${currency}`;
  const select = `SELECT ${columns}, ${sums.map((name) => `e.${name}`).join(', ')} ${from}`;
  const statement = `${select} AND (e.started_ms, e.run, e.number) > (?, ?, ?) ORDER BY 4, 1, 2 LIMIT ${pageRows}`;
  const prepared = attempt(() => database.prepare(statement).raw());
  let last: readonly Value[] = [fromMs - 1, 0, 0];
  for (;;) {
    const rows = attempt(() => prepared.all([fromMs, toMs, ...last])) as (readonly Value[])[];
    const final = rows.at(-1);
    if (final === undefined) return;
    yield rows.map(readRow);
    if (rows.length < pageRows) return;
    last = [final[3] ?? 0, final[0] ?? 0, final[1] ?? 0];
  }
}

function readRow(values: readonly (Value | null)[]): ExportRow {
  const [run, number, kind, startedMs, endedMs, outcome, key, model, recipe, unit, ...rest] = values;
  const [promptTokens = 0, cachedTokens = 0, completionTokens = 0, ...amounts] = rest.map(Number);
  return {
    ...{ run: Number(run), number: Number(number), kind: kind as RowKind, startedMs: Number(startedMs) },
    ...{ endedMs: endedMs == null ? null : Number(endedMs), outcome: outcome as Outcome },
    ...{ key: String(key), model: String(model), recipe: String(recipe), currency: String(unit) },
    ...{ promptTokens, cachedTokens, completionTokens },
    ...readSums(amounts),
  };
}
