/** Measures what steps of a model cost here, for the simulation. */
import type { Config } from '../../config.js';
import { type NativeModel, readCounter } from '../../native/contract.js';
import { type CostParameters, StepCost, type StepShape } from '../../scheduler/step-cost.js';
import { randomTokens } from '../bench/random-tokens.js';
import { median } from '../bench/statistics.js';
import { Stepper } from '../bench/stepper.js';
import { openOptions } from '../open-options.js';

const repetitions = 5;
/** Prompt chunks after a context, and sequences that decode after a context, tokens. */
const chunks = [16, 64, 128, 256, 512];
const batches = [1, 2, 4, 8, 16, 32];
const contexts = [64, 512, 2048];

/** KV tokens that the measurements may need at once. */
const kvTokens = 32 * 640;

export type MeasuredModel = {
  readonly cost: CostParameters;
  /** null if only the costs are known. */
  readonly model: string | null;
  readonly contextTokens: number;
};

/** Loads the model of the settings and measures it: about ten seconds for one of 135 million weights. */
export async function measureModel(config: Config): Promise<MeasuredModel> {
  const { openModel } = await import('../../engine/open.js');
  const opened = await openModel({ ...openOptions(config), kvTokens, maxSequences: Math.max(...batches) });
  try {
    const { nativeModel, tokenizer, engine, modelFile } = opened;
    const cost = await measureCost(nativeModel, tokenizer.vocabSize, engine.contextTokensMax);
    return { cost, model: modelFile.id, contextTokens: engine.contextTokensMax };
  } finally {
    await opened.close();
  }
}

/** Nothing else may run on the model. */
async function measureCost(model: NativeModel, vocab: number, contextMax: number): Promise<CostParameters> {
  const measured: { readonly shape: StepShape; readonly ms: number }[] = [];
  for (const context of contexts) {
    if (context + 512 > contextMax) continue;
    for (const tokens of chunks) measured.push(await measureChunk(model, vocab, context, tokens));
    for (const batch of batches) {
      if (batch * (context + 64) <= kvTokens) measured.push(await measureDecode(model, vocab, context, batch));
    }
  }
  const cost = new StepCost();
  // Many times over: learning starts from a guess that is far off, and forgets.
  for (let i = 0; i < 100; i++) for (const { shape, ms } of measured) cost.learn(shape, ms);
  const [a = 0, b = 0, r = 0, p = 0, d = 0] = cost.parameters;
  return [a, b, r, p, d];
}

async function measureChunk(model: NativeModel, vocab: number, context: number, tokens: number) {
  const stepper = new Stepper(model);
  const sequence = stepper.open(context + tokens);
  try {
    await stepper.prefill(sequence, randomTokens(context, vocab, 1), 512, false);
    const times: number[] = [];
    for (let i = 0; i <= repetitions; i++) {
      sequence.cachedTokens = context;
      const ids = randomTokens(tokens, vocab, i + 2);
      const { counters } = await stepper.step([{ sequence, tokens: ids, rowStart: tokens - 1, targets: [-1] }]);
      if (i > 0) times.push(readCounter(counters, 'totalNs') / 1e6);
    }
    const prefillPositions = tokens * context + (tokens * (tokens + 1)) / 2;
    return { shape: { tokens, rows: 1, prefillPositions, decodePositions: 0 }, ms: median(times) };
  } finally {
    stepper.closeAll([sequence]);
  }
}

async function measureDecode(model: NativeModel, vocab: number, context: number, batch: number) {
  const stepper = new Stepper(model);
  const sequences = Array.from({ length: batch }, () => stepper.open(context + 64));
  try {
    for (const [i, sequence] of sequences.entries()) {
      await stepper.prefill(sequence, randomTokens(context, vocab, i + 1), 512, false);
    }
    const times: number[] = [];
    for (let i = 0; i <= 2 * repetitions; i++) {
      const parts = sequences.map((sequence) => ({ sequence, tokens: [i + 1], rowStart: 0, targets: [-1] }));
      const { counters } = await stepper.step(parts);
      if (i > 0) times.push(readCounter(counters, 'totalNs') / 1e6);
    }
    const decodePositions = batch * (context + repetitions);
    return { shape: { tokens: batch, rows: batch, prefillPositions: 0, decodePositions }, ms: median(times) };
  } finally {
    stepper.closeAll(sequences);
  }
}
