/**
 * The place where a text's next token is agreed upon, in shared memory: the grammar's thread writes the mask, the
 * sampler reads it there (`SamplingSpec.mask`), and the event loop writes the token that was sampled. Each waits for
 * the one before, so there is one place for all positions, and no message on the way of a token.
 */
const POSITION = 0;
const TOKENS = 1;
const TOKEN = 2;
/** Words before those of the mask. */
const MASK_HEAD_WORDS = 4;

const NONE = -1;
const ENDED = -2;

export function createSharedMask(vocabSize: number): Int32Array {
  const shared = new Int32Array(new SharedArrayBuffer(4 * (MASK_HEAD_WORDS + Math.ceil(vocabSize / 32))));
  shared[POSITION] = NONE;
  return shared;
}

export function writeMask(shared: Int32Array, position: number, mask: Int32Array): void {
  shared.set(mask, MASK_HEAD_WORDS);
  Atomics.store(shared, POSITION, position);
}

/** No step waits for a mask any more. */
export function endMasks(shared: Int32Array): void {
  Atomics.store(shared, POSITION, ENDED);
}

/** The mask, if it is that of this position. Not a copy. */
export function maskAt(shared: Int32Array, position: number): Int32Array | null {
  return Atomics.load(shared, POSITION) === position ? shared.subarray(MASK_HEAD_WORDS) : null;
}

/** @param count how many tokens the text has with this one */
export function writeToken(shared: Int32Array, count: number, token: number): void {
  shared[TOKEN] = token;
  Atomics.store(shared, TOKENS, count);
}

/** The token behind the first `count`, if it is known. */
export function tokenAt(shared: Int32Array, count: number): number | null {
  return Atomics.load(shared, TOKENS) > count ? (shared[TOKEN] as number) : null;
}
