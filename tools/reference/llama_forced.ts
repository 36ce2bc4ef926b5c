/**
 * Nibble against greedy continuations of llama.cpp (from llama_greedy.py): at each position, is llama.cpp's token the
 * most likely one here too? Where not, how far apart does the reference (f32 activations) see the two choices?
 *
 * Usage: node --import tsx tools/reference/llama_forced.ts MODEL.gguf a8|f32 REFERENCE.gguf CONTINUATIONS.jsonl
 */
import { readForcedSequences } from '../../src/cli/eval/data.js';
import { argmax, logSumExp } from '../../src/cli/eval/divergence.js';
import { scoreSequence } from '../../src/cli/eval/session.js';
import { loadNativeModel } from '../../src/engine/open.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { ActivationFormat, NativeModel } from '../../src/native/contract.js';

const TOKENS_MAX = 1024;

async function load(path: string, activations: ActivationFormat) {
  const file = await readModelFile(path);
  const sizes = { contextTokensMax: TOKENS_MAX, kvBlockCount: TOKENS_MAX / 16, slotCount: 1 };
  const model = await loadNativeModel(file, { threads: null, activations, ...sizes });
  return { model, vocab: file.architecture.vocab };
}

async function logitsAlong(model: NativeModel, tokens: Int32Array, first: number, vocab: number) {
  const rows: Float32Array[] = [];
  for await (const { rows: count, result } of scoreSequence(model, tokens, first, { wantLogits: true })) {
    for (let row = 0; row < count; ++row)
      rows.push(result.logits?.slice(row * vocab, (row + 1) * vocab) ?? new Float32Array(0));
  }
  return rows;
}

async function main([path = '', activations = '', referencePath = '', data = '']: readonly string[]): Promise<void> {
  if (activations !== 'a8' && activations !== 'f32') throw new Error('activations: a8 or f32');
  const { model, vocab } = await load(path, activations);
  const reference = await load(referencePath, 'f32');
  const gaps: number[] = [];
  let positions = 0;
  for (const { prompt, continuation } of await readForcedSequences(data, { vocab, tokensMax: TOKENS_MAX })) {
    const tokens = Int32Array.of(...prompt, ...continuation);
    const ours = await logitsAlong(model, tokens, prompt.length - 1, vocab);
    const theirs = await logitsAlong(reference.model, tokens, prompt.length - 1, vocab);
    for (const [i, token] of continuation.entries()) {
      ++positions;
      const row = ours[i] ?? new Float32Array(0);
      const exact = theirs[i] ?? new Float32Array(0);
      const chosen = argmax(row);
      if (chosen === token) continue;
      gaps.push(Math.abs((exact[token] ?? Number.NaN) - (exact[chosen] ?? Number.NaN)));
      const logprob = (exact[token] ?? Number.NaN) - logSumExp(exact);
      console.log(`position ${i}: ${chosen} for ${token} (${logprob.toFixed(3)}), apart ${gaps.at(-1)?.toFixed(3)}`);
    }
  }
  const far = gaps.filter((gap) => !(gap <= 0.5)).length;
  const share = (count: number) => `${((100 * count) / positions).toFixed(2)} %`;
  console.log(
    `same most likely token ${share(positions - gaps.length)} of ${positions}; further than 0.5: ${share(far)}`,
  );
  await Promise.all([model.close(), reference.model.close()]);
}

await main(process.argv.slice(2));
