/** The columns of an exported ledger, by the names that they have in its file. */
import type { ExportRow } from '../../metering/ledger/types.js';

type Value = string | number | null;

export type Column = {
  readonly name: string;
  /** `time`: milliseconds since 1970; `count`: a whole number. */
  readonly type: 'text' | 'time' | 'count' | 'real';
  readonly read: (row: ExportRow) => Value;
};

const column = (name: string, type: Column['type'], read: Column['read']): Column => ({ name, type, read });

export const columns: readonly Column[] = [
  column('started', 'time', (row) => row.startedMs),
  column('ended', 'time', (row) => row.endedMs),
  column('kind', 'text', (row) => row.kind),
  column('outcome', 'text', (row) => row.outcome),
  column('key', 'text', (row) => row.key),
  column('model', 'text', (row) => row.model),
  column('recipe', 'text', (row) => row.recipe),
  column('prompt_tokens', 'count', (row) => row.promptTokens),
  column('cached_tokens', 'count', (row) => row.cachedTokens),
  column('completion_tokens', 'count', (row) => row.completionTokens),
  column('prefill_joules', 'real', (row) => row.prefillJoules),
  column('decode_joules', 'real', (row) => row.decodeJoules),
  column('idle_joules', 'real', (row) => row.idleJoules),
  column('tdp_joules', 'real', (row) => row.tdpJoules),
  column('machine_seconds', 'real', (row) => row.machineSeconds),
  column('currency', 'text', (row) => row.currency),
  column('energy_cost', 'real', (row) => row.energyCost),
  column('hardware_cost', 'real', (row) => row.hardwareCost),
  column('carbon_grams', 'real', (row) => row.carbonGrams),
  column('run', 'count', (row) => row.run),
  column('number', 'count', (row) => row.number),
];
