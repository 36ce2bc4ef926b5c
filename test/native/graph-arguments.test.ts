/** Malformed steps and slots are refused with a code before anything runs; the next good step has its right bits. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { ROW_SAMPLE, type StepBatch, type StepStage, TOKEN_FROM_PREVIOUS_STEP } from '../../src/native/contract.js';
import { buildBatch, greedy, NativeKit, type Sequence } from '../support/native-kit.js';
import { assertSameRow, randomTokens } from '../support/native-logits.js';
import { modelFolder } from '../support/native-models.js';

const CONTEXT = 96;
const BLOCKS = 16;
const SLOTS = 4;
const invalid = { code: 'native_invalid_argument' };
let folder: Awaited<ReturnType<typeof modelFolder>>;
let kit: NativeKit;
let expected: Float32Array;
const prompt = randomTokens(20, 288, 3);

/** Two sequences in one step: 20 tokens, then 5. */
function goodBatch(first: Sequence, second: Sequence): StepBatch {
  const parts = [
    { sequence: first, tokens: prompt, rows: [[3, 9] as const, [19, ROW_SAMPLE] as const] },
    { sequence: second, tokens: prompt.slice(0, 5), rows: [[4, ROW_SAMPLE] as const] },
  ];
  return buildBatch(parts, { wantLogits: true });
}

before(async () => {
  folder = await modelFolder();
  const path = await folder.write('tiny', {});
  kit = await NativeKit.open(path, { contextTokensMax: CONTEXT, kvBlockCount: BLOCKS, slotCount: SLOTS });
  const [first, second] = [kit.open(32), kit.open(16)];
  expected = (await kit.model.step(goodBatch(first, second))).logits ?? new Float32Array(0);
  kit.release(first);
  kit.release(second);
});
after(async () => {
  await kit.close();
  await folder.remove();
});

let first: Sequence;
let second: Sequence;
beforeEach(() => {
  first = kit.open(32);
  second = kit.open(16);
});

/** After the refusals: the same sequences still give the right bits. */
async function assertStillWorks(): Promise<void> {
  const { logits } = await kit.model.step(goodBatch(first, second));
  assertSameRow(logits ?? undefined, expected, 'the next good step');
  kit.release(first);
  kit.release(second);
}

const ints = (...values: number[]) => Int32Array.from(values);
const set = (values: Int32Array, index: number, value: number) => values.with(index, value);
const stage = (change: (good: StepStage) => Partial<StepStage>) => (good: StepBatch) => {
  const [only] = good.stages;
  assert.ok(only);
  return { stages: [{ ...only, ...change(only) }] };
};

const malformed: Readonly<Record<string, (good: StepBatch) => object>> = {
  'no slots': () => ({ slotCount: 0, seqStart: ints(0) }),
  'more slots than the model has': () => ({ slotCount: SLOTS + 1 }),
  'a fractional slotCount': () => ({ slotCount: 1.5 }),
  'a negative slotCount': () => ({ slotCount: -1 }),
  'slotCount that is no number': () => ({ slotCount: '2' }),
  'slotCount NaN': () => ({ slotCount: Number.NaN }),
  'no tokens': () => ({ tokenCount: 0 }),
  'fewer tokens than seqStart says': () => ({ tokenCount: 24 }),
  'more tokens than a step may have': () => ({
    tokenCount: 513,
    tokens: new Int32Array(513),
    positions: new Int32Array(513),
  }),
  'tokens shorter than tokenCount': () => ({ tokens: new Int32Array(24) }),
  'tokens of another type': () => ({ tokens: new Float32Array(25) }),
  'tokens as a list': ({ tokens }) => ({ tokens: [...tokens] }),
  'tokens missing': () => ({ tokens: undefined }),
  'positions shorter than tokenCount': () => ({ positions: new Int32Array(24) }),
  'a slot that is not open': () => ({ slots: ints(first.slot, SLOTS - 1) }),
  'a slot beyond the table': () => ({ slots: ints(first.slot, SLOTS) }),
  'a negative slot': () => ({ slots: ints(-1, second.slot) }),
  'a slot named twice': () => ({ slots: ints(first.slot, first.slot) }),
  'slots shorter than slotCount': () => ({ slots: ints(first.slot) }),
  'seqStart not from 0': () => ({ seqStart: ints(1, 20, 25) }),
  'seqStart not to the end': () => ({ seqStart: ints(0, 20, 24) }),
  'seqStart descending': () => ({ seqStart: ints(0, 26, 25) }),
  'seqStart negative': () => ({ seqStart: ints(0, -5, 25) }),
  'an empty sequence': () => ({ seqStart: ints(0, 0, 25) }),
  'seqStart too short': () => ({ seqStart: ints(0, 20) }),
  'a token beyond the vocabulary': ({ tokens }) => ({ tokens: set(tokens, 7, 288) }),
  'a token below −1': ({ tokens }) => ({ tokens: set(tokens, 7, -2) }),
  'the largest token': ({ tokens }) => ({ tokens: set(tokens, 7, 2 ** 31 - 1) }),
  'token of the previous step, but nothing was sampled': ({ tokens }) => ({
    tokens: set(tokens, 0, TOKEN_FROM_PREVIOUS_STEP),
  }),
  'token of the previous step within a chunk': ({ tokens }) => ({
    tokens: set(tokens, 1, TOKEN_FROM_PREVIOUS_STEP),
  }),
  'positions with a gap': ({ positions }) => ({ positions: set(positions, 19, 20) }),
  'positions that do not start at cachedTokens': stage(({ cachedTokens }) => ({
    cachedTokens: set(cachedTokens, 0, 1),
  })),
  'a negative position': ({ positions }) => ({ positions: set(positions, 0, -1) }),
  'negative cachedTokens': stage(({ cachedTokens }) => ({ cachedTokens: set(cachedTokens, 1, -1) })),
  'cachedTokens near the top of its type': stage(({ cachedTokens }) => ({
    cachedTokens: set(cachedTokens, 1, 2 ** 31 - 2),
  })),
  'a position beyond the context': (good) => ({
    ...stage(() => ({
      cachedTokens: ints(0, CONTEXT - 4),
      blockStart: ints(0, 2, 9),
      blocks: ints(0, 1, 2, 3, 4, 5, 6, 7, 8),
    }))(good),
    positions: ints(...good.positions.slice(0, 20), ...[0, 1, 2, 3, 4].map((i) => CONTEXT - 4 + i)),
  }),
  'no stage': () => ({ stages: [] }),
  'two stages': ({ stages }) => ({ stages: [...stages, ...stages] }),
  'stages that are no list': () => ({ stages: {} }),
  'a stage that is null': () => ({ stages: [null] }),
  'blockStart not from 0': stage(() => ({ blockStart: ints(1, 2, 3) })),
  'blockStart descending': stage(() => ({ blockStart: ints(0, 4, 3) })),
  'blockStart negative': stage(() => ({ blockStart: ints(0, 2, -1) })),
  'a table too short for its tokens': stage(() => ({ blockStart: ints(0, 1, 3) })),
  'blocks shorter than blockStart says': stage(({ blocks }) => ({ blocks: blocks.slice(0, 2) })),
  'a block beyond the pool': stage(({ blocks }) => ({ blocks: set(blocks, 1, BLOCKS) })),
  'a negative block': stage(({ blocks }) => ({ blocks: set(blocks, 0, -1) })),
  'rows descending': ({ rows }) => ({ rows: ints(...rows).with(0, 20) }),
  'a row twice': () => ({ rows: ints(3, 3, 24) }),
  'a row beyond the tokens': ({ rows }) => ({ rows: set(rows, 2, 25) }),
  'a negative row': ({ rows }) => ({ rows: set(rows, 0, -1) }),
  'rows shorter than rowCount': () => ({ rows: ints(3, 19) }),
  'more rows than a step may have': () => ({ rowCount: 513 }),
  'a target beyond the vocabulary': ({ targets }) => ({ targets: set(targets, 0, 288) }),
  'a target below −1': ({ targets }) => ({ targets: set(targets, 0, -2) }),
  'two samples of one slot that do not follow each other': ({ targets }) => ({ targets: set(targets, 0, ROW_SAMPLE) }),
  'targets too short': () => ({ targets: ints(9) }),
  'topCount above 20': () => ({ topCount: 21 }),
  'wantLogits that is no boolean': () => ({ wantLogits: 1 }),
};

for (const [name, change] of Object.entries(malformed)) {
  test(`refused: ${name}`, async () => {
    const good = goodBatch(first, second);
    await assert.rejects(kit.model.step({ ...good, ...change(good) } as StepBatch), invalid);
    await assertStillWorks();
  });
}

test('refused: no object, and one whose property throws', async () => {
  for (const value of [undefined, null, 3, 'batch']) {
    await assert.rejects(kit.model.step(value as unknown as StepBatch), invalid);
  }
  const good = goodBatch(first, second);
  const throwing = Object.defineProperty({ ...good }, 'rows', {
    get: () => {
      throw new Error('from a getter');
    },
  });
  await assert.rejects(kit.model.step(throwing), invalid);
  await assertStillWorks();
});

test('refused: a third step in flight, and closing a slot of a step that runs', async () => {
  const one = kit.model.step(goodBatch(first, second));
  const two = kit.model.step(goodBatch(first, second));
  await assert.rejects(kit.model.step(goodBatch(first, second)), invalid);
  assert.throws(() => kit.model.closeSlot(first.slot), invalid);
  await Promise.all([one, two]);
  await assertStillWorks();
});

test('slots: as many as there are, closed once, never by a number that is no slot', async () => {
  const more = [kit.model.openSlot(greedy), kit.model.openSlot(greedy)];
  assert.equal(new Set([first.slot, second.slot, ...more]).size, SLOTS);
  assert.throws(() => kit.model.openSlot(greedy), invalid);
  for (const slot of more) kit.model.closeSlot(slot);
  for (const slot of [more[0], SLOTS, -1, 0.5, Number.NaN, 2 ** 32, 2 ** 32 + 1, Number.POSITIVE_INFINITY, '0', null]) {
    assert.throws(() => kit.model.closeSlot(slot as number), invalid, String(slot));
  }
  await assertStillWorks();
});

test('slots: settings out of range', async () => {
  const bad: Readonly<Record<string, unknown>> = {
    temperature: Number.NaN,
    topK: -1,
    topP: 1.5,
    minP: -0.1,
    presencePenalty: Number.POSITIVE_INFINITY,
    frequencyPenalty: 'x',
    repetitionPenalty: 0,
    seed: -1n,
    choice: 0.5,
    biasIds: ints(0),
    biasValues: new Float32Array(1),
    promptIds: ints(288),
    generatedIds: ints(-1),
  };
  for (const [key, value] of Object.entries(bad)) {
    assert.throws(() => kit.model.openSlot({ ...greedy, [key]: value }), invalid, key);
  }
  assert.throws(() => kit.model.openSlot({ ...greedy, seed: 2n ** 64n }), invalid, 'seed');
  assert.throws(
    () => kit.model.openSlot({ ...greedy, biasIds: ints(288), biasValues: new Float32Array(1) }),
    invalid,
    'bias beyond the vocabulary',
  );
  await assertStillWorks();
});
