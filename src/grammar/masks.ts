/** What a mask of the engine says, with the end tokens taken apart. */
export type MaskVerdict = 'continue' | 'finished' | 'stuck';

/**
 * Changes the mask in place: bits past the vocabulary go, and end tokens too where they mustn't be sampled yet, unless
 * nothing else is allowed. `finished`: the text is complete and nothing can follow; `stuck`: it isn't and nothing can.
 */
export function settleMask(
  mask: Int32Array,
  vocabSize: number,
  endIds: readonly number[],
  mayEnd: boolean,
  isComplete: boolean,
): MaskVerdict {
  const last = mask.length - 1;
  if (vocabSize % 32 !== 0) mask[last] = (mask[last] ?? 0) & ((1 << (vocabSize % 32)) - 1);
  const allowed = endIds.filter((id) => (((mask[id >> 5] ?? 0) >>> (id & 31)) & 1) === 1);
  for (const id of allowed) mask[id >> 5] = (mask[id >> 5] ?? 0) & ~(1 << (id & 31));
  if (mask.every((word) => word === 0)) return allowed.length > 0 || isComplete ? 'finished' : 'stuck';
  if (mayEnd) for (const id of allowed) mask[id >> 5] = (mask[id >> 5] ?? 0) | (1 << (id & 31));
  return 'continue';
}
