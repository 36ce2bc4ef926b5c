/** Where the time of a prefill or decode goes, operator by operator, from the counters of its steps. Pure. */
import type { ModelFile } from '../../model/types.js';
import {
  type ActivationFormat,
  type KvFormat,
  OPERATORS,
  type Operator,
  type RooflineRun,
  readCounter,
  type StepCounters,
} from '../../native/contract.js';
import { boundSeconds, idealSeconds, matrixWork, modelWork, times, visiblePositions } from './roofline-model.js';
import { significant } from './statistics.js';
import { percent } from './table.js';

/** Sums over steps. */
export type StepTotals = {
  readonly steps: number;
  readonly totalNs: number;
  readonly operatorNs: Readonly<Record<Operator, number>>;
};

const each = <T>(value: (operator: Operator) => T): Readonly<Record<Operator, T>> =>
  Object.fromEntries(OPERATORS.map((operator) => [operator, value(operator)])) as Record<Operator, T>;

export const noSteps: StepTotals = { steps: 0, totalNs: 0, operatorNs: each(() => 0) };

export function addStep(totals: StepTotals, counters: StepCounters): StepTotals {
  return {
    steps: totals.steps + 1,
    totalNs: totals.totalNs + readCounter(counters, 'totalNs'),
    operatorNs: each((operator) => totals.operatorNs[operator] + readCounter(counters, operator)),
  };
}

export function addTotals(a: StepTotals, b: StepTotals): StepTotals {
  return {
    steps: a.steps + b.steps,
    totalNs: a.totalNs + b.totalNs,
    operatorNs: each((operator) => a.operatorNs[operator] + b.operatorNs[operator]),
  };
}

/** One line of a profile. `between` is the time in which no step ran: the way through JavaScript. */
export type ProfileRow = {
  readonly operator: Operator | 'between';
  /** Of a whole prefill; of one step of a decode. */
  readonly ms: number;
  readonly timeShare: number;
  /** Ideal ÷ measured time; null where the limits say nothing. */
  readonly rooflineShare: number | null;
};

export type Profile = { readonly prefill: readonly ProfileRow[]; readonly decode: readonly ProfileRow[] };

/** Ideal seconds of the operators that the limits bound, for what one row describes. */
export type Ideals = Partial<Readonly<Record<Operator, number>>>;

/** What was measured: sequences, and of each the tokens cached before, those of the prompt, those decoded. */
type Load = { readonly batch: number; readonly context: number; readonly prompt: number; readonly generate: number };

/** Of the prefill of all sequences, by arithmetic. */
export function prefillIdeals(
  file: ModelFile,
  { activations, kv }: Formats,
  { batch, context, prompt }: Load,
  limits: Pick<RooflineRun, 'int8GMacs' | 'fp32GMacs'>,
): Ideals {
  const attention = times(modelWork(file, activations, kv).attentionPerPosition, visiblePositions(context, prompt));
  const matrices = matrixWork(file, activations).map(({ operator, macs }) => {
    return [operator, batch * (operator === 'head' ? 1 : prompt) * idealSeconds(macs, limits)] as const;
  });
  return { ...Object.fromEntries(matrices), attention: batch * idealSeconds(attention, limits) };
}

/** Of one step of the decode: matrices are read once, as in the file; keys and values of their mean length. */
export function decodeIdeals(
  file: ModelFile,
  { activations, kv }: Formats,
  { batch, context, prompt, generate }: Load,
  limits: RooflineRun,
): Ideals {
  const { kvBytesPerToken, attentionPerPosition } = modelWork(file, activations, kv);
  const positions = (batch * visiblePositions(context + prompt, generate)) / generate;
  const matrices = matrixWork(file, activations).map(({ operator, macs, fileBytes }) => {
    return [operator, boundSeconds(fileBytes, times(macs, batch), limits)] as const;
  });
  const attention = times(attentionPerPosition, positions);
  return { ...Object.fromEntries(matrices), attention: boundSeconds(kvBytesPerToken * positions, attention, limits) };
}

/** Rows of `count` equal pieces (prefills, or steps of a decode) that took `wallSeconds` together. */
export function profileRows(totals: StepTotals, wallSeconds: number, count: number, ideals: Ideals): ProfileRow[] {
  const row = (operator: ProfileRow['operator'], ns: number, ideal: number | undefined): ProfileRow => ({
    operator,
    ms: significant(ns / count / 1e6),
    timeShare: significant(ns / 1e9 / wallSeconds),
    rooflineShare: ideal === undefined || ns === 0 ? null : significant((ideal * count * 1e9) / ns),
  });
  const between = Math.max(0, wallSeconds * 1e9 - totals.totalNs);
  return [
    ...OPERATORS.map((operator) => row(operator, totals.operatorNs[operator], ideals[operator])),
    row('between', between, undefined),
  ];
}

type Formats = { readonly activations: ActivationFormat | null; readonly kv: KvFormat | null };

type Repetition = {
  readonly prefill: number;
  readonly decode: number;
  readonly prefillSteps: StepTotals;
  readonly decodeSteps: StepTotals;
  readonly limits: RooflineRun;
};

/** The mean over the repetitions, operator by operator. */
function meanIdeals(repetitions: readonly Repetition[], ideals: (limits: RooflineRun) => Ideals): Ideals {
  const all = repetitions.map(({ limits }) => ideals(limits));
  const bounded = OPERATORS.filter((operator) => all[0]?.[operator] !== undefined);
  const mean = (operator: Operator) => all.reduce((sum, one) => sum + (one[operator] ?? 0), 0) / all.length;
  return Object.fromEntries(bounded.map((operator) => [operator, mean(operator)]));
}

/** Means over the repetitions: parts of a mean sum to the whole, parts of a median don't. */
export function describeProfile(
  { modelFile }: { readonly modelFile: ModelFile },
  load: Load,
  repetitions: readonly Repetition[],
  formats: Formats,
): Profile {
  const sum = (value: (repetition: Repetition) => number) => repetitions.reduce((total, r) => total + value(r), 0);
  const prefillSteps = repetitions.map((r) => r.prefillSteps).reduce(addTotals, noSteps);
  const decodeSteps = repetitions.map((r) => r.decodeSteps).reduce(addTotals, noSteps);
  const prefills = repetitions.length;
  const steps = repetitions.length * load.generate;
  return {
    prefill: profileRows(
      prefillSteps,
      sum((r) => r.prefill),
      prefills,
      meanIdeals(repetitions, (limits) => prefillIdeals(modelFile, formats, load, limits)),
    ),
    decode: profileRows(
      decodeSteps,
      sum((r) => r.decode),
      steps,
      meanIdeals(repetitions, (limits) => decodeIdeals(modelFile, formats, load, limits)),
    ),
  };
}

/** Cells for the table: operator, and for prefill and decode ms, share of time, share of the roofline. */
export function profileCells({ prefill, decode }: Profile): (string | number)[][] {
  const cells = (row: ProfileRow | undefined): (string | number)[] => {
    if (row === undefined) return ['', '', ''];
    return [row.ms, percent(row.timeShare), row.rooflineShare === null ? '' : percent(row.rooflineShare)];
  };
  return prefill.map((row, i) => [row.operator, ...cells(row), ...cells(decode[i])]);
}
