/** The shift-and-add element against plain multiplication, and its counts against ones worked out by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  accumulatorBits,
  codeValue,
  multiplyByShifts,
  type PeDesign,
  ShiftAddElement,
} from '../../src/cost/pe/shift-add.js';

const designs: readonly PeDesign[] = [true, false].flatMap((hasSignedCodes) => [
  { weightBits: 4, activationBits: 8, hasSignedCodes } as const,
  { weightBits: 4, activationBits: 16, hasSignedCodes } as const,
]);
const named = ({ weightBits, activationBits, hasSignedCodes }: PeDesign) =>
  `W${weightBits}A${activationBits}, ${hasSignedCodes ? 'signed' : 'unsigned'} codes`;

/** xorshift32: repeatable, and each bit is as good as any other. */
function randomWords(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

for (const design of designs) {
  test(`${named(design)}: every operand times every code is the product`, () => {
    const half = 2 ** (design.activationBits - 1);
    for (let code = 0; code < 16; ++code) {
      // Two's complement of four bits: 8 … 15 are −8 … −1.
      const weight = design.hasSignedCodes && code > 7 ? code - 16 : code;
      for (let x = -half; x < half; ++x) {
        if (multiplyByShifts(design, x, code) !== x * weight) assert.fail(`${x} times code ${code}`);
      }
    }
  });
}

test('W4A8: a million random groups equal the sum of products minus zero point times sum', () => {
  const design: PeDesign = { weightBits: 4, activationBits: 8, hasSignedCodes: false };
  const next = randomWords(20_241_116);
  for (let group = 0; group < 1_000_000; ++group) {
    const zero = next() & 15;
    let shifted = 0;
    let expected = 0;
    let sum = 0;
    for (let word = 0; word < 16; ++word) {
      const bits = next();
      // Two operands and their codes out of different bits of a word.
      for (let i = 0; i < 2; ++i) {
        const x = (bits << (24 - 8 * i)) >> 24;
        const code = (bits >>> (16 + 4 * i)) & 15;
        shifted = (shifted + multiplyByShifts(design, x, code)) | 0;
        expected += x * (code - zero);
        sum += x;
      }
    }
    const corrected = shifted - multiplyByShifts(design, sum, zero);
    if (corrected !== expected) assert.fail(`group ${group}: ${corrected} for ${expected}`);
  }
});

for (const design of designs) {
  test(`${named(design)}: the element's groups of 32, 64 and 128 are exact, the extreme ones too`, () => {
    const next = randomWords(7);
    const element = new ShiftAddElement(design, 128);
    const lowest = -(2 ** (design.activationBits - 1));
    for (let round = 0; round < 600; ++round) {
      const size = [32, 64, 128][round % 3] ?? 32;
      const zero = design.hasSignedCodes ? 0 : next() & 15;
      const isExtreme = round % 10 === 0;
      let expected = 0;
      let sum = 0;
      for (let k = 0; k < size; ++k) {
        const x = isExtreme ? lowest : (next() << (32 - design.activationBits)) >> (32 - design.activationBits);
        // The codes of the largest magnitude: −8, and 15.
        const code = isExtreme ? (design.hasSignedCodes ? 8 : 15) : next() & 15;
        element.accumulate(x, code);
        expected += x * (codeValue(design, code) - zero);
        sum += x;
      }
      assert.equal(element.endGroup(zero, sum), expected, `round ${round}`);
    }
  });
}

test('the accumulator is as wide as the worst group needs, and not wider', () => {
  const unsigned: PeDesign = { weightBits: 4, activationBits: 8, hasSignedCodes: false };
  // 128 · 15 · 128 = 245,760 < 2^18: nineteen bits with the sign.
  assert.equal(accumulatorBits(unsigned, 128), 19);
  // −128 · 15 = −1,920 ≥ −2^11.
  assert.equal(accumulatorBits(unsigned, 1), 12);
  // −128 · −8 = 1,024 = 2^10, one more than eleven bits hold.
  assert.equal(accumulatorBits({ ...unsigned, hasSignedCodes: true }, 1), 12);
  // 32 · 1,024 = 2^15.
  assert.equal(accumulatorBits({ ...unsigned, hasSignedCodes: true }, 32), 17);
  assert.throws(() => new ShiftAddElement({ ...unsigned, activationBits: 16 }, 16_384), RangeError);
});

test('counts are those worked out by hand', () => {
  const element = new ShiftAddElement({ weightBits: 4, activationBits: 8, hasSignedCodes: true }, 32);
  element.accumulate(3, 0b0101);
  // Copies x and x ≪ 2: one is shifted, both are added. From all zeros: operand 3 (2 bits), code (2), copies 3 and 12
  // (2 each), product and accumulator 15 (4 each).
  assert.deepEqual(element.counts, { macs: 1, shifts: 1, adds: 2, switchedBits: 16 });
  element.accumulate(3, 0b0101);
  // Only the accumulator changes, from 01111 to 11110: two bits.
  assert.deepEqual(element.counts, { macs: 2, shifts: 2, adds: 4, switchedBits: 18 });
  element.accumulate(3, 0b1000);
  // Code 0101 → 1000 (3 bits); copies 3 → 0 and 12 → 0 (2 each), 0 → 24 (2). Product 15 → −24, 0000 0000 1111 →
  // 1111 1110 1000 (7 + 3 = 10 bits). Accumulator 30 → 6: 11110 → 00110 (2 bits).
  assert.deepEqual(element.counts, { macs: 3, shifts: 3, adds: 5, switchedBits: 18 + 3 + 6 + 10 + 2 });
  assert.equal(element.endGroup(0, 9), 6);
});
