/**
 * A deterministic stand-in for the addon that distrusts its caller. Its "KV cache" stores token ids in the blocks it is
 * given, and each step proves that the block table really holds the slot's history (of a slot just opened: the part of
 * its prompt that it says is cached), that nobody else in the step writes those blocks, that positions continue, and
 * that −1 refers to a token sampled by the step right before. The sampled token is a hash of the slot's whole history
 * as read through the blocks, so any mix-up changes the text.
 */
import { maskAt } from '../../src/grammar/shared-mask.js';
import {
  type LoadedModelInfo,
  type NativeModel,
  ROW_SAMPLE,
  ROW_WITHOUT_MASK,
  type SamplingSpec,
  STEP_COUNTERS,
  type StepBatch,
  type StepCounter,
  type StepCounters,
  type StepResult,
  TOKEN_FROM_PREVIOUS_STEP,
} from '../../src/native/contract.js';
import { FakeCalibration } from './fake-calibration.js';
import { fakeLogprob, fakeToken, hashIds } from './fake-text.js';

const blockTokens = 16;

export type FakeOptions = {
  readonly blockCount: number;
  readonly slotCount?: number;
  readonly stepTokensMax?: number;
  readonly stepRowsMax?: number;
  readonly vocab?: number;
  /** `auto`: a step runs by itself after this many turns of the event loop. `manual`: when the test says so. */
  readonly mode?: { readonly kind: 'auto'; readonly turns: number } | { readonly kind: 'manual' };
  /** Overrides the sampled token. */
  readonly sample?: (history: readonly number[], sampling: SamplingSpec) => number;
  /** Marks a row as not finite. */
  readonly isFailed?: (history: readonly number[]) => boolean;
};

type Slot = {
  readonly sampling: SamplingSpec;
  /** Tokens in the cache; null until the first step says how many of the prompt's are there already. */
  history: number[] | null;
  sampled: { readonly step: number; readonly token: number } | null;
  /** The last sample had no mask: what is computed on −1 is void, and the next token given is a repetition. */
  leftOut: boolean;
};

type Job = {
  readonly number: number;
  readonly batch: StepBatch;
  readonly resolve: (result: StepResult) => void;
  readonly reject: (error: unknown) => void;
  outcome: { readonly result: StepResult } | { readonly error: unknown } | null;
};

/** Counters with these values, the others 0. */
export const countersOf = (values: Partial<Record<StepCounter, number>>): StepCounters =>
  Float64Array.from(STEP_COUNTERS, (name) => values[name] ?? 0);

function violation(message: string): Error {
  return Object.assign(new Error(message), { code: 'native_invalid_argument' });
}

export class FakeNative extends FakeCalibration implements NativeModel {
  readonly info: LoadedModelInfo;
  /** Everything the caller did wrong; tests assert that it is empty. */
  readonly violations: string[] = [];
  /** Tokens of each step that ran, in order. */
  readonly stepTokens: number[] = [];
  /** Most steps that were in flight together. */
  inFlightPeak = 0;
  openSlots = 0;
  isClosed = false;
  /** The next calls of `step` or `openSlot` fail with these; null: that one works. */
  readonly stepFaults: unknown[] = [];
  readonly openFaults: unknown[] = [];

  private readonly options: FakeOptions;
  private readonly vocab: number;
  private readonly cache: Int32Array;
  private readonly slots: (Slot | null)[];
  private readonly jobs: Job[] = [];
  private nextStep = 0;
  readonly storePack = () => Promise.resolve();
  private readonly rejectedSteps = new Set<number>();

  constructor(options: FakeOptions) {
    super();
    this.options = options;
    this.vocab = options.vocab ?? 256;
    this.cache = new Int32Array(options.blockCount * blockTokens).fill(-1);
    this.slots = new Array<Slot | null>(options.slotCount ?? 64).fill(null);
    this.info = {
      level: 'scalar',
      threads: 1,
      packedBytes: 0,
      kvBytes: 0,
      kvBlockBytes: blockTokens * 4,
      weightBytesPerToken: 0,
      fileBytesPerToken: 0,
      linearMacsPerToken: 0,
      headMacsPerRow: 0,
      loadNs: 0,
      pack: 'unsettled',
      fileIdentity: 'fake',
    };
  }

  get stepsInFlight(): number {
    return this.jobs.length;
  }

  /** The ids that a block holds. */
  readKvBlocks(blocks: Int32Array): Uint8Array {
    const place = (i: number) => (blocks[i >> 4] ?? 0) * blockTokens + (i & 15);
    return new Uint8Array(Int32Array.from({ length: blocks.length * 16 }, (_, i) => this.cache[place(i)] ?? -1).buffer);
  }

  writeKvBlocks(blocks: Int32Array, content: Uint8Array): void {
    if (this.jobs.length > 0) this.refuse('writeKvBlocks: a step is in flight');
    const ids = new Int32Array(Uint8Array.from(content).buffer);
    for (const [i, block] of blocks.entries()) this.cache.set(ids.subarray(16 * i, 16 * i + 16), 16 * block);
  }

  openSlot(sampling: SamplingSpec): number {
    if (this.openFaults.length > 0) throw this.openFaults.shift();
    const id = this.slots.indexOf(null);
    if (id < 0 || this.isClosed) this.refuse('openSlot: no slot is free');
    this.slots[id] = { sampling, history: null, sampled: null, leftOut: false };
    this.openSlots++;
    return id;
  }

  closeSlot(id: number): void {
    if (this.slots[id] == null) this.refuse(`closeSlot: slot ${id} is not open`);
    for (const job of this.jobs) {
      if (job.batch.slots.includes(id)) this.refuse(`closeSlot: slot ${id} is in a step in flight`);
    }
    this.slots[id] = null;
    this.openSlots--;
  }

  step(batch: StepBatch): Promise<StepResult> {
    const fault = this.stepFaults.shift();
    // The addon checks before it queues: nothing of a rejected step runs, and its rejection may overtake earlier steps.
    if (fault != null) {
      this.rejectedSteps.add(this.nextStep++);
      return Promise.reject(fault);
    }
    if (this.isClosed) this.refuse('step: the model is closed');
    if (this.jobs.length >= 2) this.refuse('step: two steps are in flight already');
    return new Promise((resolve, reject) => {
      this.jobs.push({ number: this.nextStep++, batch: copyBatch(batch), resolve, reject, outcome: null });
      this.inFlightPeak = Math.max(this.inFlightPeak, this.jobs.length);
      if (this.options.mode?.kind !== 'manual') this.runAfter(this.options.mode?.turns ?? 0);
    });
  }

  close(): Promise<void> {
    if (this.jobs.length > 0) this.refuse('close: steps are in flight');
    this.isClosed = true;
    return Promise.resolve();
  }

  /** Manual mode: runs everything up to the job at `index` in order, then lets that one's promise settle. */
  finish(index = 0): void {
    for (const job of this.jobs.slice(0, index + 1)) this.execute(job);
    const [job] = this.jobs.splice(index, 1);
    if (job === undefined) throw new Error('no such step in flight');
    if (job.outcome !== null && 'result' in job.outcome) job.resolve(job.outcome.result);
    else job.reject(job.outcome?.error);
  }

  private runAfter(turns: number): void {
    if (turns > 0) setImmediate(() => this.runAfter(turns - 1));
    else queueMicrotask(() => this.finish());
  }

  private refuse(message: string): never {
    this.violations.push(message);
    throw violation(message);
  }

  private execute(job: Job): void {
    if (job.outcome !== null) return;
    try {
      job.outcome = { result: this.compute(job.batch, job.number) };
    } catch (error) {
      job.outcome = { error };
    }
  }

  private compute(batch: StepBatch, step: number): StepResult {
    this.checkShape(batch);
    const { rowCount, topCount } = batch;
    const result: StepResult = {
      tokens: new Int32Array(rowCount),
      logprobs: new Float32Array(rowCount).fill(Number.NaN),
      topIds: new Int32Array(rowCount * topCount),
      topLogprobs: new Float32Array(rowCount * topCount),
      failed: new Uint8Array(rowCount),
      logits: null,
      counters: countersOf({ totalNs: 4e6 }),
    };
    let row = 0;
    for (let i = 0; i < batch.slotCount; i++) row = this.computeSlot(batch, i, row, step, result);
    if (row !== rowCount) this.refuse(`${rowCount - row} rows point at no token or are out of order`);
    this.stepTokens.push(batch.tokenCount);
    return result;
  }

  private computeSlot(batch: StepBatch, index: number, firstRow: number, step: number, result: StepResult): number {
    const id = batch.slots[index] ?? -1;
    const slot = this.slots[id] ?? this.refuse(`slot ${id} is not open`);
    const first = batch.seqStart[index] ?? 0;
    if (slot.leftOut) {
      if (batch.tokens[first] === TOKEN_FROM_PREVIOUS_STEP) return leaveOut(firstRow, result);
      slot.leftOut = false;
      if (batch.tokens[first] !== slot.history?.pop()) this.refuse(`slot ${id} repeats another token`);
    }
    const table = this.blockTable(batch, index, id);
    const history = this.startHistory(batch, index, id, slot, table, step);
    let row = firstRow;
    let sampleRows = 0;
    let dropped = 0;
    const end = batch.seqStart[index + 1] ?? 0;
    for (let t = first; t < end; t++) {
      const position = batch.positions[t] ?? -1;
      if (position !== history.length) this.refuse(`slot ${id}: position ${position} after ${history.length}`);
      const token = this.resolveToken(batch.tokens[t] ?? -1, slot, id, step);
      this.write(batch, index, table[Math.floor(position / blockTokens)], position, token);
      // Behind the first row that samples come guesses; from the first wrong one on nothing counts.
      if (sampleRows > 0 && (dropped > 0 || token !== slot.sampled?.token)) dropped++;
      history.push(token);
      const isRow = row < batch.rowCount && batch.rows[row] === t;
      if (isRow && batch.targets[row] === ROW_SAMPLE) sampleRows++;
      else if (sampleRows > 0) this.refuse(`slot ${id} has a token that doesn't sample behind one that does`);
      if (!isRow) continue;
      const { sampled } = slot;
      this.computeRow(batch, row, slot, history, table, result, step);
      if (dropped > 0) [slot.sampled, result.failed[row]] = [sampled, 1];
      row++;
    }
    if (sampleRows > 1 && slot.sampling.mask !== undefined) this.refuse(`slot ${id} samples ${sampleRows} rows`);
    history.length -= dropped;
    return row;
  }

  private computeRow(
    batch: StepBatch,
    row: number,
    slot: Slot,
    expected: readonly number[],
    table: readonly number[],
    result: StepResult,
    step: number,
  ): void {
    if (!this.holds(table, expected)) this.refuse('the block table does not hold the history');
    const history = expected.slice();
    const target = batch.targets[row] ?? ROW_SAMPLE;
    const { promptIds, mask: shared } = slot.sampling;
    const mask = shared === undefined ? undefined : maskAt(shared, history.length - promptIds.length);
    if (target === ROW_SAMPLE && mask === null) {
      slot.leftOut = true;
      result.failed[row] = ROW_WITHOUT_MASK;
      return;
    }
    const token = target === ROW_SAMPLE ? this.sample(history, slot.sampling, mask ?? undefined) : target;
    if (target === ROW_SAMPLE) slot.sampled = { step, token };
    result.tokens[row] = token;
    result.failed[row] = this.options.isFailed?.(history) === true ? 1 : 0;
    if (batch.wantLogprobs) result.logprobs[row] = fakeLogprob(history, token);
    for (let k = 0; k < batch.topCount; k++) {
      const id = (hashIds(history, 77) + k) % this.vocab;
      result.topIds[row * batch.topCount + k] = id;
      result.topLogprobs[row * batch.topCount + k] = fakeLogprob(history, id);
    }
  }

  private sample(history: readonly number[], sampling: SamplingSpec, mask: Int32Array | undefined): number {
    let token = this.options.sample?.(history, sampling) ?? fakeToken(history, sampling, this.vocab);
    while (mask !== undefined && !allows(mask, token)) token = (token + 1) % this.vocab;
    return token;
  }

  private holds(table: readonly number[], history: readonly number[]): boolean {
    return history.every(
      (token, p) => token === this.cache[(table[Math.floor(p / blockTokens)] ?? 0) * blockTokens + (p % blockTokens)],
    );
  }

  /** What the slot says is in the cache must be there: for a new slot, the beginning of its prompt. */
  private startHistory(
    batch: StepBatch,
    index: number,
    id: number,
    slot: Slot,
    table: readonly number[],
    step: number,
  ): number[] {
    const cached = batch.stages[0]?.cachedTokens[index] ?? -1;
    const { promptIds, generatedIds } = slot.sampling;
    const history = slot.history ?? [...promptIds, ...generatedIds].slice(0, cached);
    if (history.length !== cached || !this.holds(table, history)) {
      // A caller that queued this step couldn't know yet that the one before was rejected: no violation of its own.
      if (this.rejectedSteps.has(step - 1)) throw violation(`slot ${id} continues a rejected step`);
      this.refuse(`slot ${id}: ${cached} tokens are said to be cached, but they aren't`);
    }
    slot.history = history;
    return history;
  }

  /** A block that is written may be in no other slot's table, unless what is written is there already. */
  private write(batch: StepBatch, index: number, block: number | undefined, position: number, token: number): void {
    if (block === undefined) this.refuse(`slot ${batch.slots[index]}: no block for position ${position}`);
    const [stage] = batch.stages;
    const start = stage?.blockStart[index] ?? 0;
    const end = stage?.blockStart[index + 1] ?? 0;
    const elsewhere = stage?.blocks.findIndex((other, at) => other === block && (at < start || at >= end)) ?? -1;
    const cell = block * blockTokens + (position % blockTokens);
    if (elsewhere >= 0 && this.cache[cell] !== token) {
      this.refuse(`block ${block} is written by slot ${batch.slots[index]}, but shared`);
    }
    this.cache[cell] = token;
  }

  private resolveToken(token: number, slot: Slot, id: number, step: number): number {
    if (token !== TOKEN_FROM_PREVIOUS_STEP) {
      if (token < 0 || token >= this.vocab) this.refuse(`slot ${id}: token ${token} is outside the vocabulary`);
      return token;
    }
    if (slot.sampled?.step !== step - 1) this.refuse(`slot ${id}: -1, but the previous step sampled nothing for it`);
    return slot.sampled.token;
  }

  private blockTable(batch: StepBatch, index: number, id: number): number[] {
    const [stage] = batch.stages;
    if (stage === undefined || batch.stages.length !== 1) this.refuse('a step has one stage');
    const cached = stage.cachedTokens[index] ?? -1;
    const table = [...stage.blocks.subarray(stage.blockStart[index], stage.blockStart[index + 1])];
    const tokens = (batch.seqStart[index + 1] ?? 0) - (batch.seqStart[index] ?? 0);
    if (tokens < 1) this.refuse(`slot ${id} has no token`);
    if (table.length !== Math.ceil((cached + tokens) / blockTokens)) {
      this.refuse(`slot ${id}: ${table.length} blocks for ${cached} + ${tokens} tokens`);
    }
    for (const block of table) {
      if (block < 0 || block >= this.options.blockCount) this.refuse(`block ${block} does not exist`);
    }
    return table;
  }

  private checkShape(batch: StepBatch): void {
    const { slotCount, tokenCount, rowCount } = batch;
    if (slotCount < 1 || new Set(batch.slots).size !== slotCount) this.refuse('a step has no slot, or one twice');
    if (batch.seqStart[0] !== 0 || batch.seqStart[slotCount] !== tokenCount) this.refuse('seqStart does not span T');
    if (batch.stages[0]?.blockStart[0] !== 0) this.refuse('blockStart does not begin at 0');
    if (tokenCount > (this.options.stepTokensMax ?? 512)) this.refuse(`a step of ${tokenCount} tokens`);
    if (rowCount > (this.options.stepRowsMax ?? 512)) this.refuse(`a step of ${rowCount} rows`);
  }
}

export const allows = (mask: Int32Array, token: number) => ((mask[token >> 5] as number) & (1 << (token & 31))) !== 0;

/** Marks the row of a decode; returns the one behind it. */
function leaveOut(row: number, result: StepResult): number {
  result.failed[row] = ROW_WITHOUT_MASK;
  return row + 1;
}

/** As the contract says: arrays are copied before `step` returns, and only as far as the counts reach. */
function copyBatch(batch: StepBatch): StepBatch {
  const { slotCount, tokenCount, rowCount, wantLogprobs, topCount, wantLogits } = batch;
  return {
    slotCount,
    tokenCount,
    rowCount,
    wantLogprobs,
    topCount,
    wantLogits,
    slots: batch.slots.slice(0, slotCount),
    seqStart: batch.seqStart.slice(0, slotCount + 1),
    tokens: batch.tokens.slice(0, tokenCount),
    positions: batch.positions.slice(0, tokenCount),
    rows: batch.rows.slice(0, rowCount),
    targets: batch.targets.slice(0, rowCount),
    stages: batch.stages.map((stage) => ({
      cachedTokens: stage.cachedTokens.slice(0, slotCount),
      blockStart: stage.blockStart.slice(0, slotCount + 1),
      blocks: stage.blocks.slice(0, stage.blockStart[slotCount]),
    })),
  };
}
