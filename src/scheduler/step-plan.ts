import type {
  TOKEN_FROM_PREVIOUS_STEP as FromPrevious,
  ROW_SAMPLE as RowSample,
  StepBatch,
} from '../native/contract.js';
import type { Sequence } from './sequence.js';
import type { StepShape } from './step-cost.js';
import type { SchedulerLimits } from './types.js';

// The literal types make the compiler compare these with the contract, without importing a value from it.
const rowSample: typeof RowSample = -1;
const tokenFromPreviousStep: typeof FromPrevious = -1;

type MutableStage = { cachedTokens: Int32Array; blockStart: Int32Array; blocks: Int32Array };

/**
 * One step in the addon's own layout (a `StepBatch`), and which sequence each part belongs to. The arrays are made
 * once and overwritten by the next step but one, hence after this step has returned.
 */
export class StepPlan<T> implements StepBatch {
  slotCount = 0;
  tokenCount = 0;
  rowCount = 0;
  wantLogprobs = false;
  topCount = 0;
  readonly wantLogits = false;
  readonly slots: Int32Array;
  readonly seqStart: Int32Array;
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly rows: Int32Array;
  readonly targets: Int32Array;
  readonly stages: readonly [MutableStage];

  /** Planned only when the step before had returned, for what that one was to sample. */
  hasWaited = false;
  /** Prompt tokens and sampled tokens that the step computes. */
  prefillTokens = 0;
  decodeTokens = 0;
  /** Cached positions that attention reads, summed over tokens of prompts, and over tokens that decode. */
  prefillPositions = 0;
  decodePositions = 0;
  /** [S] the sequence in each place. */
  readonly sequences: Sequence<T>[] = [];
  /** [S+1] offsets into `rows`. */
  readonly rowStart: Int32Array;
  /** [S] the first row that samples, or −1. One follows for each drafted token. */
  readonly sampleRow: Int32Array;
  /** [S] rows that sample; once the step has returned, those whose tokens count (`settle`). */
  readonly sampleCount: Int32Array;

  private readonly blockTokens: number;

  constructor(limits: SchedulerLimits) {
    const { sequencesMax, stepTokensMax, stepRowsMax } = limits;
    this.blockTokens = limits.blockTokens;
    this.slots = new Int32Array(sequencesMax);
    this.seqStart = new Int32Array(sequencesMax + 1);
    this.tokens = new Int32Array(stepTokensMax);
    this.positions = new Int32Array(stepTokensMax);
    this.rows = new Int32Array(stepRowsMax);
    this.targets = new Int32Array(stepRowsMax);
    this.rowStart = new Int32Array(sequencesMax + 1);
    this.sampleRow = new Int32Array(sequencesMax);
    this.sampleCount = new Int32Array(sequencesMax);
    this.stages = [
      {
        cachedTokens: new Int32Array(sequencesMax),
        blockStart: new Int32Array(sequencesMax + 1),
        blocks: new Int32Array(limits.blockCount),
      },
    ];
  }

  clear(hasWaited: boolean): void {
    this.hasWaited = hasWaited;
    this.slotCount = 0;
    this.tokenCount = 0;
    this.rowCount = 0;
    this.prefillTokens = 0;
    this.decodeTokens = 0;
    this.prefillPositions = 0;
    this.decodePositions = 0;
    this.wantLogprobs = false;
    this.topCount = 0;
    this.sequences.length = 0;
  }

  get shape(): StepShape {
    const { tokenCount: tokens, rowCount: rows, prefillPositions, decodePositions } = this;
    return { tokens, rows, prefillPositions, decodePositions };
  }

  /**
   * Appends the next `count` tokens of a sequence and moves its counters; the caller has checked that all fit. The last
   * `drafts` of them are its drafter's guesses, which are sampled as well.
   */
  add(sequence: Sequence<T>, count: number, drafts = 0): void {
    const index = this.slotCount++;
    const first = sequence.planned;
    this.sequences.push(sequence);
    this.slots[index] = sequence.slot;
    this.addTokens(sequence, first, count);
    this.seqStart[index + 1] = this.tokenCount;
    this.addBlocks(sequence, index, first, count);
    const samples = first + count >= sequence.prefillTokens;
    this.addRows(sequence, index, first, count, samples ? 1 + drafts : 0);
    const positions = count * first + (count * (count + 1)) / 2;
    if (sequence.isDecoding) {
      this.decodeTokens += count;
      this.decodePositions += positions;
    } else {
      this.prefillTokens += count;
      this.prefillPositions += positions;
    }
    sequence.planned = first + count;
    sequence.inFlight++;
    sequence.drafted = drafts;
    if (samples) sequence.pending++;
  }

  /**
   * Takes the sampled tokens of all rows: of those of the sequence in place `index` count the ones up to the first that
   * isn't what had been guessed. Returns how many guesses were wrong, or behind a wrong one.
   */
  settle(index: number, sampled: Int32Array): number {
    const first = this.sampleRow[index] as number;
    const rows = this.sampleCount[index] as number;
    let good = Math.min(1, rows);
    while (good < rows && sampled[first + good - 1] === this.tokens[this.rows[first + good] as number]) good++;
    this.sampleCount[index] = good;
    return rows - good;
  }

  private addTokens(sequence: Sequence<T>, first: number, count: number): void {
    const { tokens, positions } = this;
    const { known, tokens: ids, drafter } = sequence;
    let at = this.tokenCount;
    for (let position = first; position < first + count; position++, at++) {
      if (position < known) tokens[at] = ids[position] as number;
      else if (position === first || drafter === null) tokens[at] = tokenFromPreviousStep;
      else tokens[at] = drafter.token(position - known);
      positions[at] = position;
    }
    this.tokenCount = at;
  }

  private addBlocks(sequence: Sequence<T>, index: number, first: number, count: number): void {
    const stage = this.stages[0];
    const from = stage.blockStart[index] as number;
    const covered = Math.ceil((first + count) / this.blockTokens);
    if (from + covered > stage.blocks.length) growBlocks(stage, from + covered);
    const target = stage.blocks;
    const source = sequence.blocks;
    for (let i = 0; i < covered; i++) target[from + i] = source[i] as number;
    stage.cachedTokens[index] = first;
    stage.blockStart[index + 1] = from + covered;
  }

  private addRows(sequence: Sequence<T>, index: number, first: number, count: number, samples: number): void {
    const tokenStart = this.tokenCount - count;
    let row = this.rowStart[index] as number;
    if (sequence.scorePrompt) {
      const end = Math.min(first + count, sequence.promptTokens - 1);
      for (let position = Math.max(first, sequence.scored); position < end; position++, row++) {
        this.rows[row] = tokenStart + position - first;
        this.targets[row] = sequence.promptIds[position + 1] as number;
      }
    }
    this.sampleRow[index] = samples > 0 ? row : -1;
    this.sampleCount[index] = samples;
    for (let token = this.tokenCount - samples; token < this.tokenCount; token++, row++) {
      this.rows[row] = token;
      this.targets[row] = rowSample;
    }
    if (row > this.rowCount && sequence.topCount >= 0) {
      this.wantLogprobs = true;
      if (sequence.topCount > this.topCount) this.topCount = sequence.topCount;
    }
    this.rowCount = row;
    this.rowStart[index + 1] = row;
  }
}

/** Only shared blocks, listed by several sequences, can need more room than the pool has blocks. */
function growBlocks(stage: MutableStage, needed: number): void {
  const larger = new Int32Array(Math.max(needed, stage.blocks.length * 2));
  larger.set(stage.blocks);
  stage.blocks = larger;
}
