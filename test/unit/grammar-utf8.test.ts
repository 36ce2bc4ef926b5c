import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Utf8Masks, utf8After } from '../../src/grammar/utf8.js';
import { Random } from '../../src/random.js';

const decodes = (bytes: Uint8Array): boolean => {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
};

test('the same bytes are text as for the decoder of the web', () => {
  const random = new Random(1);
  // Bytes at which the rules change; whatever follows them.
  const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee];
  const all = [...edges, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
  let texts = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = Uint8Array.from({ length: 1 + random.below(5) }, () => all[random.below(all.length)] as number);
    const isText = decodes(bytes);
    assert.equal(utf8After(0, bytes) === 0, isText, Buffer.from(bytes).toString('hex'));
    if (isText) texts++;
    // A text is one as well when it comes in two parts.
    const cut = random.below(bytes.length);
    const state = utf8After(0, bytes.subarray(0, cut));
    if (state >= 0) assert.equal(utf8After(state, bytes.subarray(cut)), utf8After(0, bytes));
  }
  assert.ok(texts > 500);
});

test('a mask loses the tokens that would break a character', () => {
  const tokens = [[0x61], [0xc3], [0xa9], [0xe2, 0x82], [0x80], [0xed, 0xa0], [], [0xa9, 0x62]].map((bytes) =>
    Uint8Array.from(bytes),
  );
  const masks = new Utf8Masks(tokens);
  const allowed = (state: number): number[] => {
    const mask = Int32Array.of(-1);
    masks.restrict(mask, state);
    return tokens.flatMap((_, id) => (((mask[0] as number) >>> id) & 1 ? [id] : []));
  };
  assert.deepEqual(allowed(0), [0, 1, 3, 6]);
  assert.deepEqual(allowed(masks.after(0, 1)), [2, 4, 6, 7]);
  assert.deepEqual(allowed(masks.after(0, 3)), [2, 4, 6, 7]);
});
