/** Ids to text: whole, piece by piece, and one token for log-probabilities. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NibbleError } from '../../src/errors.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import { byteLevel, parsing, plain, sentencePiece } from '../support/tokenizer-vocabularies.js';

// In these vocabularies ids 0–255 are the bytes (byte level), and 2–257 (SentencePiece).
const bytes = createTokenizer(byteLevel({ control: ['<|end|>'], userDefined: ['<tool>', 'é x'] }));
const pieces = createTokenizer(sentencePiece({ pieces: { '▁the': -1, '▁': -2 } }));
const END = 256;
const TOOL = 257;
const USER_TEXT = 258;
const THE = 258;

test('a character that spans tokens comes out with its last byte', () => {
  const detokenizer = bytes.createDetokenizer();
  const family = [...Buffer.from('a👨‍👩é')];
  // a | 4 bytes | 3 bytes (joiner) | 4 bytes | 2 bytes
  const expected = ['a', '', '', '', '👨', '', '', '\u200d', '', '', '', '👩', '', 'é'];
  assert.deepEqual(
    family.map((byte) => detokenizer.push(byte)),
    expected,
  );
  assert.equal(detokenizer.flush(), '');
});

test('incomplete bytes at the end become U+FFFD, broken ones as soon as that is certain', () => {
  const detokenizer = bytes.createDetokenizer();
  assert.equal(detokenizer.push(0xe2), '');
  assert.equal(detokenizer.push(0x82), '');
  assert.equal(detokenizer.push(0x41), '\ufffdA'); // E2 82 needs one more continuation byte
  assert.equal(detokenizer.push(0xf0), '');
  assert.equal(detokenizer.flush(), '\ufffd');
});

test('a control token within a character leaves no trace', () => {
  const detokenizer = bytes.createDetokenizer();
  assert.deepEqual([detokenizer.push(0xc3), detokenizer.push(END), detokenizer.push(0xa9)], ['', '', 'é']);
});

test('a token of a hostile vocabulary may be longer than a call has room for arguments', () => {
  const long = 'long '.repeat(100_000);
  const detokenizer = createTokenizer(byteLevel({ userDefined: [long] })).createDetokenizer();
  assert.ok(detokenizer.push(256) === long);
});

test('joined pieces equal the whole, for any ids', () => {
  for (const tokenizer of [bytes, pieces]) {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }), { maxLength: 40 }), (ids) => {
        const detokenizer = tokenizer.createDetokenizer();
        const joined = ids.map((id) => detokenizer.push(id)).join('') + detokenizer.flush();
        assert.equal(joined, tokenizer.decode(ids));
      }),
      { numRuns: 500 },
    );
  }
});

test('any text survives encoding and decoding', () => {
  const anyText = fc.string({ unit: 'binary', maxLength: 60 });
  fc.assert(
    fc.property(anyText, (text) => {
      assert.equal(bytes.decode(bytes.encode(text, plain), true), text);
      // The space prefix stays: ids may be the continuation of another text. ▁ itself reads as a space.
      const spaced = text === '' ? '' : ` ${text.replaceAll('\u2581', ' ')}`;
      assert.equal(pieces.decode(pieces.encode(text, plain)), spaced);
    }),
    { numRuns: 500 },
  );
});

test('control tokens are left out unless kept; user-defined ones are text', () => {
  assert.equal(bytes.decode([0x41, END, TOOL, 0x42]), 'A<tool>B');
  assert.equal(bytes.decode([0x41, END, TOOL, 0x42], true), 'A<|end|><tool>B');
  assert.equal(bytes.decode([]), '');
});

test('a byte order mark is text like any other', () => {
  assert.equal(bytes.decode([0xef, 0xbb, 0xbf, 0x41]), '\ufeffA');
  const detokenizer = bytes.createDetokenizer();
  assert.equal([0xef, 0xbb, 0xbf].map((byte) => detokenizer.push(byte)).join(''), '\ufeff');
});

test('printable form of a token', () => {
  assert.equal(bytes.tokenText(0x41), 'A');
  assert.equal(bytes.tokenText(0x0a), '\n');
  assert.equal(bytes.tokenText(0xe2), 'bytes:\\xe2');
  assert.equal(bytes.tokenText(END), '<|end|>');
  assert.equal(bytes.tokenText(USER_TEXT), 'é x');
  assert.equal(pieces.tokenText(THE), ' the');
  assert.equal(pieces.tokenText(2 + 0x80), 'bytes:\\x80');
});

test('a token that begins with a byte order mark keeps it', () => {
  // ï » ¿ stand for the bytes EF BB BF; the merges' results follow the 256 bytes.
  const tokenizer = createTokenizer(byteLevel({ merges: ['\u00ef \u00bb', '\u00ef\u00bb \u00bf'] }));
  assert.equal(tokenizer.tokenText(257), '\ufeff');
});

test('bytes of a token', () => {
  assert.deepEqual([...bytes.tokenBytes(0xff)], [0xff]);
  assert.deepEqual([...bytes.tokenBytes(USER_TEXT)], [0xc3, 0xa9, 0x20, 0x78]);
  assert.deepEqual([...pieces.tokenBytes(2)], [0]);
  assert.deepEqual(Buffer.from(pieces.tokenBytes(THE)).toString(), ' the');
});

test('ids outside the vocabulary are a coded error', () => {
  const isRefusal = (error: unknown): boolean => error instanceof NibbleError && error.code === 'invalid_request';
  for (const id of [-1, 0.5, Number.NaN, bytes.vocabSize, 2 ** 31]) {
    assert.throws(() => bytes.tokenBytes(id), isRefusal);
    assert.throws(() => bytes.tokenText(id), isRefusal);
    assert.throws(() => bytes.decode([id]), isRefusal);
    assert.throws(() => bytes.createDetokenizer().push(id), isRefusal);
  }
});

test('a megabyte of one letter, of marks, of blanks or of half a special token is encoded', () => {
  const merges = ['a a', 'aa aa', '\u0120 \u0120'];
  const tokenizer = createTokenizer(byteLevel({ pre: 'qwen2', merges, control: ['<|end|>'] }));
  const size = 1 << 20;
  assert.equal(tokenizer.encode('a'.repeat(size), parsing).length, size / 4);
  assert.equal(tokenizer.encode(' '.repeat(size), parsing).length, size / 2);
  assert.equal(tokenizer.encode('<|'.repeat(size / 2), parsing).length, size);
  // Two bytes a mark; the first composes with its letter, also two bytes: à, then marks.
  assert.equal(tokenizer.encode(`a${'\u0300\u0316'.repeat(size / 4)}`, parsing).length, size);
});
