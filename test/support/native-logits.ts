/** Logits of chosen positions of a sequence, however it is fed, and their comparison bit by bit. */
import assert from 'node:assert/strict';
import { ROW_SAMPLE, type SamplingSpec, type StepResult, TOKEN_FROM_PREVIOUS_STEP } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';
import type { NativeKit, Part, Sequence } from './native-kit.js';

/** Position → logits. */
export type Rows = Map<number, Float32Array>;

export function randomTokens(count: number, vocab: number, seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.below(vocab));
}

/** The next `count` tokens of `prompt` as a part of a step that scores those of `positions` that it meets. */
export function chunkPart(
  sequence: Sequence,
  prompt: readonly number[],
  count: number,
  positions: Iterable<number>,
): Part {
  const start = sequence.cachedTokens;
  const tokens = prompt.slice(start, start + count);
  const rows = [...positions].filter((p) => p >= start && p < start + tokens.length).sort((a, b) => a - b);
  return { sequence, tokens, rows: rows.map((p) => [p - start, prompt[p + 1] ?? 0] as const) };
}

/** Takes the rows of part number `index` out of a result. */
export function collect(
  parts: readonly Part[],
  starts: readonly number[],
  index: number,
  result: StepResult,
  into: Rows,
): void {
  const before = parts.slice(0, index).reduce((sum, { rows = [] }) => sum + rows.length, 0);
  const vocab = (result.logits?.length ?? 0) / Math.max(1, result.tokens.length);
  for (const [i, [row]] of (parts[index]?.rows ?? []).entries()) {
    const at = (before + i) * vocab;
    assert.equal(result.failed[before + i], 0);
    into.set((starts[index] ?? 0) + row, result.logits?.slice(at, at + vocab) ?? new Float32Array(0));
  }
}

/** Feeds the prompt alone, in chunks of these sizes in turn, and returns the logits of `positions`. */
export async function prefill(
  kit: NativeKit,
  sequence: Sequence,
  prompt: readonly number[],
  chunks: readonly number[],
  positions: readonly number[],
): Promise<Rows> {
  const found: Rows = new Map();
  for (let i = 0; sequence.cachedTokens < prompt.length; i += 1) {
    const start = sequence.cachedTokens;
    const part = chunkPart(sequence, prompt, chunks[i % chunks.length] ?? 1, positions);
    collect([part], [start], 0, await kit.step([part], { wantLogits: true }), found);
  }
  assert.equal(found.size, positions.length, 'every wanted row was computed');
  return found;
}

/** Opens, feeds, closes. */
export async function logitsOf(
  kit: NativeKit,
  prompt: readonly number[],
  chunks: readonly number[],
  positions: readonly number[],
): Promise<Rows> {
  const sequence = kit.open(prompt.length);
  try {
    return await prefill(kit, sequence, prompt, chunks, positions);
  } finally {
    kit.release(sequence);
  }
}

export type Continuation = { readonly tokens: number[]; readonly logits: Float32Array[] };

/** The settings of a sampled continuation: every filter and penalty on. */
export const sampled = (prompt: readonly number[]): Partial<SamplingSpec> => ({
  temperature: 0.9,
  topK: 50,
  topP: 0.95,
  minP: 0.01,
  presencePenalty: 0.3,
  frequencyPenalty: 0.2,
  repetitionPenalty: 1.1,
  seed: 0x1234_5678_9abc_def0n,
  choice: 1,
  promptIds: Int32Array.from(prompt),
});

/**
 * Prefills in chunks of `chunk`, then samples `count` tokens one by one. `previous`: each step takes its token from the
 * step before (−1) and is queued while that one runs; otherwise ids are given.
 */
export async function generate(
  kit: NativeKit,
  prompt: readonly number[],
  count: number,
  options: { readonly chunk: number; readonly previous: boolean },
): Promise<Continuation> {
  const sequence = kit.open(prompt.length + count, sampled(prompt));
  const found: Continuation = { tokens: [], logits: [] };
  const take = async (pending: Promise<StepResult>) => {
    const { tokens, logits } = await pending;
    found.tokens.push(tokens[0] ?? -1);
    found.logits.push(logits ?? new Float32Array(0));
  };
  while (sequence.cachedTokens + options.chunk < prompt.length) {
    await kit.step([chunkPart(sequence, prompt, options.chunk, [])]);
  }
  const last = prompt.slice(sequence.cachedTokens);
  let pending = kit.step([{ sequence, tokens: last, rows: [[last.length - 1, ROW_SAMPLE]] }], { wantLogits: true });
  for (let i = 1; i < count; i += 1) {
    if (!options.previous) await take(pending);
    const token = options.previous ? TOKEN_FROM_PREVIOUS_STEP : (found.tokens.at(-1) ?? 0);
    const next = kit.step([{ sequence, tokens: [token], rows: [[0, ROW_SAMPLE]] }], { wantLogits: true });
    if (options.previous) await take(pending);
    pending = next;
  }
  await take(pending);
  kit.release(sequence);
  return found;
}

const bits = (values: Float32Array) => new Int32Array(values.buffer, values.byteOffset, values.length);

/** Equality of the bits of two rows, with the first difference in the message. */
export function assertSameRow(
  actual: Float32Array | undefined,
  expected: Float32Array | undefined,
  what: string,
): void {
  assert.ok(actual && expected && expected.length > 0, `${what}: no logits`);
  assert.equal(actual.length, expected.length, what);
  const [left, right] = [bits(actual), bits(expected)];
  const at = left.findIndex((value, i) => value !== right[i]);
  assert.equal(at, -1, `${what}: logit ${at} is ${actual[at]}, expected ${expected[at]}`);
}

export function assertSameRows(actual: Rows, expected: Rows, what: string): void {
  for (const [position, row] of actual) assertSameRow(row, expected.get(position), `${what}, position ${position}`);
}

export function assertSameContinuation(actual: Continuation, expected: Continuation, what: string): void {
  assert.deepEqual(actual.tokens, expected.tokens, what);
  for (const [i, row] of actual.logits.entries()) assertSameRow(row, expected.logits[i], `${what}, step ${i}`);
}

/** Guards the comparisons themselves: logits that don't vary would be equal however they are computed. */
export function assertLively(rows: Rows): void {
  const all = [...rows.values()];
  for (const row of all) assert.ok(new Set(bits(row)).size > row.length / 2, 'a row of logits is flat');
  const firsts = new Set(all.map((row) => row[0]));
  assert.ok(firsts.size > all.length / 2, 'rows do not differ');
}
