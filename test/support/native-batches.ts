/** The same sequence alone and among others: every way in which a scheduler may put it into steps. */
import { ROW_SAMPLE } from '../../src/native/contract.js';
import type { NativeKit, Part } from './native-kit.js';
import { chunkPart, collect, prefill, type Rows, randomTokens } from './native-logits.js';

/** Steps in which the sequence shares the batch with prefills and decodes that come and go. */
export async function amongOthers(
  kit: NativeKit,
  prompt: readonly number[],
  positions: readonly number[],
  chunk: number,
): Promise<Rows> {
  const others = [37, 150, 300].map((length, i) => ({
    prompt: randomTokens(length, kit.vocab, 90 + i),
    sequence: kit.open(length + prompt.length),
  }));
  // Opened last: neither slot nor blocks are those that it has alone.
  const sequence = kit.open(prompt.length);
  const found: Rows = new Map();
  for (let turn = 0; sequence.cachedTokens < prompt.length; turn += 1) {
    const parts: Part[] = others.map(({ prompt: own, sequence: other }) => {
      const left = own.length - other.cachedTokens;
      if (left > 0) return chunkPart(other, own, Math.min(left, 29), [own.length - 1]);
      return { sequence: other, tokens: [turn % kit.vocab], rows: [[0, ROW_SAMPLE]] };
    });
    const place = turn % (parts.length + 1);
    parts.splice(place, 0, chunkPart(sequence, prompt, chunk, positions));
    const starts = parts.map((part) => part.sequence.cachedTokens);
    collect(parts, starts, place, await kit.step(parts, { wantLogits: true }), found);
  }
  for (const other of others) kit.release(other.sequence);
  kit.release(sequence);
  return found;
}

/** Two sequences with a common beginning: the second reads the first one's blocks, as a prefix-cache hit does. */
export async function withSharedPrefix(
  kit: NativeKit,
  prompt: readonly number[],
  positions: readonly number[],
  sharedBlocks: number,
): Promise<Rows> {
  const first = kit.open(prompt.length);
  await prefill(kit, first, prompt.slice(0, sharedBlocks * 16 + 5), [64], []);
  const second = kit.open(prompt.length, {}, first.blocks.slice(0, sharedBlocks));
  const wanted = positions.filter((position) => position >= sharedBlocks * 16);
  const found = await prefill(kit, second, prompt, [50], wanted);
  kit.release(second, sharedBlocks);
  kit.release(first);
  return found;
}
