import { fieldAt, numberAt, rowsAt } from './fields.js';
import type { Outcome, Target } from './types.js';

const shared = 'JavaScript, sockets, the clients and the engine share the same cores.';

/** What the project asks of itself, as far as the sections measure it. */
export const targets: readonly Target[] = [
  {
    what: 'Prefill of 512 tokens, share of the roofline',
    section: 'engine',
    where: { batch: 1 },
    path: 'prefillRooflineShare',
    unit: '%',
    atLeast: 0.5,
    otherwise:
      'Attention and the operators between matrices have no int8 rate. Next: fewer passes between projections.',
  },
  {
    what: 'Decode of one sequence, share of the roofline',
    section: 'engine',
    where: { batch: 1 },
    path: 'decodeRooflineShare',
    unit: '%',
    atLeast: 0.65,
    otherwise: 'Barriers between operators weigh more where memory is fast. Next: fewer barriers a layer.',
  },
  {
    what: 'Decode of 16 sequences, share of the roofline',
    section: 'engine',
    where: { batch: 16 },
    path: 'decodeRooflineShare',
    unit: '%',
    atLeast: 0.4,
    otherwise: 'Attention of each sequence is its own. Next: query heads of several sequences in one tile.',
  },
  {
    what: 'Prefill, ours ÷ node-llama-cpp',
    section: 'peers',
    where: { peer: 'node-llama-cpp', sequences: 1 },
    path: 'ratio.prefill',
    atLeast: 2,
    otherwise: 'See docs/performance.md.',
  },
  {
    what: 'Decode, ours ÷ node-llama-cpp',
    section: 'peers',
    where: { peer: 'node-llama-cpp', sequences: 1 },
    path: 'ratio.decode',
    atLeast: 2,
    otherwise: 'See docs/performance.md.',
  },
  {
    what: 'Decode of 16 sequences, ours ÷ llama.cpp',
    section: 'peers',
    where: { peer: 'xllamacpp', sequences: 16 },
    path: 'ratio.decode',
    atLeast: 4,
    otherwise:
      'llama.cpp gains from batches, too, where it has VNNI. Next: attention of several sequences in one tile.',
  },
  {
    what: 'Output tokens/s over HTTP, 16 clients, ours ÷ llama.cpp’s server',
    section: 'serve',
    rows: 'peer.runs',
    where: { concurrency: 16 },
    path: 'ratio',
    atLeast: 4,
    otherwise: shared,
  },
  {
    what: 'What serving adds to a decode step, one stream',
    section: 'overhead',
    where: { batch: 1 },
    path: 'overheadShare',
    unit: '%',
    atMost: 0.03,
    otherwise: `${shared} docs/serving.md says what takes how long.`,
  },
  {
    what: 'What serving adds to a decode step, 32 streams',
    section: 'overhead',
    where: { batch: 32 },
    path: 'overheadShare',
    unit: '%',
    atMost: 0.05,
    otherwise: `${shared} docs/serving.md says what takes how long.`,
  },
  {
    what: 'What a JSON schema adds to a token, one sequence',
    section: 'constrained',
    where: { batch: 1, constraint: 'schema' },
    path: 'costShare',
    unit: '%',
    atMost: 0.05,
    otherwise: 'Masks are computed on a core that the engine uses, too. Next: a native grammar engine.',
  },
  {
    what: 'Process start to ready with packed weights on disk, ms',
    section: 'start',
    rows: '.',
    where: {},
    path: 'warm.readyMs',
    atMost: 500,
    otherwise: 'Node itself and its libraries take most of it.',
  },
  {
    what: 'Accounting, share of a step',
    section: 'accounting',
    where: { batch: 16 },
    path: 'stepShare',
    unit: '%',
    atMost: 0.005,
    otherwise: 'See docs/energy-and-cost.md.',
  },
  {
    what: 'Perplexity of w4a8-sym (the size of Q4_0), ÷ float',
    section: 'recipes',
    rows: 'candidates',
    where: { name: 'w4a8-sym' },
    path: 'ratio',
    atMost: 1.12,
    otherwise: 'See docs/quantization.md.',
  },
  {
    what: 'Perplexity of tender-int8, ÷ float',
    section: 'recipes',
    rows: 'candidates',
    where: { name: 'tender-int8' },
    path: 'ratio',
    atMost: 1.02,
    otherwise: 'See docs/methods/tender.md.',
  },
];

export type Judged = { readonly target: Target; readonly value: number; readonly isMet: boolean };

/** Each target whose section was run, with what came out. */
export function judge(outcomes: readonly Outcome[], wanted: readonly Target[] = targets): readonly Judged[] {
  return wanted.flatMap((target) => {
    const outcome = outcomes.find(({ section }) => section.name === target.section);
    if (outcome === undefined || outcome.result === null) return [];
    const fits = (row: Readonly<Record<string, unknown>>) =>
      Object.entries(target.where).every(([key, value]) => fieldAt(row, key) === value);
    const row = rowsAt(outcome.result, target.rows ?? 'runs').find(fits);
    const value = row === undefined ? null : numberAt(row, target.path);
    if (value === null) return [];
    const isMet = value >= (target.atLeast ?? -Infinity) && value <= (target.atMost ?? Infinity);
    return [{ target, value, isMet }];
  });
}
