/**
 * Loads what may be a ruined model and runs a step on it: whatever comes out is a coded error, or rows that are finite
 * or say that they are not. To be run in a process of its own, since what it looks for is crashes.
 */
import { NibbleError } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { LoadOptions, NativeModel } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { buildBatch, greedy } from './native-kit.js';

/** `finite`, `failed rows`, or the code of the error. */
export type ProbeOutcome = string;

/** Small bounds, so that thousands of loads are quick. */
const bounds = {
  threads: 2,
  kvBlockCount: 8,
  slotCount: 2,
  stepTokensMax: 64,
  stepRowsMax: 16,
} as const;

/** The options for a file that was read. Throws NibbleError for what reading and the tokenizer refuse. */
export async function probeOptions(path: string, activations: 'a8' | 'f32'): Promise<LoadOptions> {
  const file = await readModelFile(path);
  const tokenizer = createTokenizer(file.tokenizer);
  tokenizer.encode('The capital of France is', { addSpecialTokens: true, parseSpecial: true });
  const { architecture, tensors } = file;
  return {
    path,
    architecture,
    tensors,
    activations,
    kv: 'f16',
    ...bounds,
    contextTokensMax: Math.min(128, architecture.contextLength),
  };
}

/** Two sequences, a prompt and a decode, then closes. Throws an uncoded Error if a row is neither good nor failed. */
async function runSteps(model: NativeModel, vocab: number, contextTokens: number): Promise<ProbeOutcome> {
  let outcome = 'finite';
  const count = Math.min(20, contextTokens - 1);
  const sequence = { slot: model.openSlot(greedy), blocks: [3, 1], cachedTokens: 0 };
  for (const tokens of [Array.from({ length: count }, (_, i) => (i * 31) % vocab), [vocab - 1]]) {
    const part = { sequence, tokens, rows: [[tokens.length - 1, -1]] as const };
    const result = await model.step(buildBatch([part], { wantLogits: true, wantLogprobs: true, topCount: 3 }));
    sequence.cachedTokens += tokens.length;
    const hasNumbers = result.logits?.every((value) => Number.isFinite(value)) ?? false;
    if (result.failed[0] === 0 && !hasNumbers) throw new Error('a row that is not finite counts as good');
    if (result.failed[0] !== 0) outcome = 'failed rows';
    else if (!(Number(result.tokens[0]) >= 0 && Number(result.tokens[0]) < vocab)) throw new Error('no such token');
    else if (!(Number(result.logprobs[0]) <= 0)) throw new Error(`log-probability ${result.logprobs[0]}`);
  }
  model.closeSlot(sequence.slot);
  return outcome;
}

/** The code of a coded error of the addon; anything else is thrown on. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (!/^(model_|native_)/.test(code) || code === 'native_internal') throw error;
  return code;
}

/** Loads with these options and runs. Rejects with what isn't a coded error. */
export async function probeLoad(options: LoadOptions): Promise<ProbeOutcome> {
  let model: NativeModel;
  try {
    model = await loadAddon().loadModel(options);
  } catch (error) {
    return codeOf(error);
  }
  try {
    return await runSteps(model, options.architecture.vocab, options.contextTokensMax);
  } catch (error) {
    // Right for options that leave no room for these steps, never for a file.
    return `step: ${codeOf(error)}`;
  } finally {
    await model.close();
  }
}

/** Reads, loads and runs a file. */
export async function probeFile(path: string, activations: 'a8' | 'f32' = 'a8'): Promise<ProbeOutcome> {
  try {
    return await probeLoad(await probeOptions(path, activations));
  } catch (error) {
    if (error instanceof NibbleError) return error.code;
    throw error;
  }
}
