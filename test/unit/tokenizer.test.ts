/** The tokenizer's rules on tiny vocabularies made by hand: what each expected id follows from stands beside it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NibbleError } from '../../src/errors.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { TokenizerMetadata } from '../../src/model/types.js';
import { byteLevel, parsing, plain, sentencePiece } from '../support/tokenizer-vocabularies.js';

const encode = (metadata: TokenizerMetadata, text: string, options = plain): number[] =>
  Array.from(createTokenizer(metadata).encode(text, options));

/** Texts of the ids: words stay readable in the expectations. */
const words = (metadata: TokenizerMetadata, text: string, options = plain): string[] => {
  const tokenizer = createTokenizer(metadata);
  return Array.from(tokenizer.encode(text, options), (id) => tokenizer.tokenText(id));
};

test('byte-level: merges go by rank, then from the left', () => {
  // "bc" (rank 0) goes before "ab" (rank 1), so "abc" is a+bc, and "ab" merges only where no c follows.
  const metadata = byteLevel({ merges: ['b c', 'a b', 'x x'] });
  assert.deepEqual(words(metadata, 'abc'), ['a', 'bc']);
  assert.deepEqual(words(metadata, 'abab'), ['ab', 'ab']);
  assert.deepEqual(words(metadata, 'xxx'), ['xx', 'x']);
});

test('byte-level: a long word gives what its short parts give', () => {
  // More than 32 symbols take the heap's path. "ab" then "abab": 100 × "ab" is 50 × "abab".
  const metadata = byteLevel({ merges: ['a b', 'ab ab'] });
  assert.deepEqual(words(metadata, 'ab'.repeat(100)), Array(50).fill('abab'));
  assert.deepEqual(words(metadata, `${'ab'.repeat(101)}`), [...Array(50).fill('abab'), 'ab']);
});

test('byte-level: heap and scan agree on random words', () => {
  const metadata = byteLevel({ merges: ['a b', 'b a', 'a a', 'ab a', 'aa b', 'b b', 'aba ab', 'bb a', 'ab ab'] });
  const tokenizer = createTokenizer(metadata);
  const letters = fc.array(fc.constantFrom('a', 'b'), { minLength: 33, maxLength: 200 });
  fc.assert(
    fc.property(letters, (chosen) => {
      const text = chosen.join('');
      assert.deepEqual(words(metadata, text), naiveMerge(metadata.merges, text));
      assert.equal(tokenizer.decode(tokenizer.encode(text, plain)), text);
    }),
    { numRuns: 200 },
  );
});

/** Byte-pair encoding by its definition: merge the leftmost pair of lowest rank, start over. */
function naiveMerge(merges: readonly string[], text: string): string[] {
  const parts = [...text];
  for (;;) {
    const ranks = parts.slice(1).map((right, i) => merges.indexOf(`${parts[i]} ${right}`));
    const best = Math.min(...ranks.filter((rank) => rank >= 0));
    const at = ranks.indexOf(best);
    if (at < 0) return parts;
    parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`);
  }
}

test('byte-level: bytes without a token are left out', () => {
  const metadata = byteLevel({ merges: ['a b'], without: [0x04] });
  assert.deepEqual(words(metadata, 'a\u0004b'), ['a', 'b']); // two words: the control character parts them
});

test('Llama 3: a word of the vocabulary is one token although no merge leads to it', () => {
  const tokens = ['hello'];
  assert.deepEqual(words(byteLevel({ pre: 'llama-bpe', tokens }), 'hello'), ['hello']);
  assert.deepEqual(words(byteLevel({ pre: 'gpt-2', tokens }), 'hello'), [...'hello']);
});

test('Qwen2 normalizes to NFC, GPT-2 does not', () => {
  const decomposed = 'e\u0301';
  const roundTrip = (pre: string): string => {
    const tokenizer = createTokenizer(byteLevel({ pre }));
    return tokenizer.decode(tokenizer.encode(decomposed, plain));
  };
  assert.equal(roundTrip('qwen2'), '\u00e9');
  assert.equal(roundTrip('gpt-2'), decomposed);
});

test('special tokens: control ones only on request, user-defined ones always, the longest of those at one place', () => {
  const metadata = byteLevel({ control: ['<|end|>'], userDefined: ['<tool>', '<tool>s'] });
  assert.deepEqual(words(metadata, 'x<|end|>', parsing), ['x', '<|end|>']);
  assert.deepEqual(words(metadata, '<|end|>'), [...'<|end|>']);
  assert.deepEqual(words(metadata, 'a<tool>b<tool>s'), ['a', '<tool>', 'b', '<tool>s']);
});

test('BOS and EOS are added where the file says so', () => {
  const metadata = byteLevel({ control: ['<s>', '</s>'] });
  const [bosId, eosId] = [metadata.tokens.indexOf('<s>'), metadata.tokens.indexOf('</s>')];
  const a = metadata.tokens.indexOf('a');
  const stated = { ...metadata, bosId, eosId, addBos: true, addEos: true };
  const adding = { addSpecialTokens: true, parseSpecial: false };
  assert.deepEqual(encode(stated, 'a', adding), [bosId, a, eosId]);
  assert.deepEqual(encode(stated, '', adding), [bosId, eosId]);
  assert.deepEqual(encode(stated, 'a'), [a]);
  assert.deepEqual(encode({ ...stated, addBos: false, addEos: false }, 'a', adding), [a]);
});

test('end ids are those of the metadata', () => {
  const metadata = { ...byteLevel({}), eosId: 3, extraEndIds: [5, 7] };
  assert.deepEqual([...createTokenizer(metadata).endIds].sort(), [3, 5, 7]);
  assert.equal(createTokenizer({ ...metadata, eosId: null, extraEndIds: [] }).endIds.size, 0);
});

test('lone surrogates count as U+FFFD', () => {
  const metadata = byteLevel({});
  assert.deepEqual(encode(metadata, 'a\ud800b\udc00'), encode(metadata, 'a\ufffdb\ufffd'));
  assert.deepEqual(encode(sentencePiece({}), 'a\udfff'), encode(sentencePiece({}), 'a\ufffd'));
});

test('SentencePiece: the pair of highest score merges first, spaces are ▁, the text starts with one', () => {
  const metadata = sentencePiece({ pieces: { '▁a': -3, ab: -1, '▁ab': -9, b: -20, a: -20, '▁': -20 } });
  assert.deepEqual(words(metadata, 'ab'), [' ab']); // "ab" first (-1), then "▁"+"ab" (-9)
  assert.deepEqual(words(metadata, 'a b'), [' a', ' ', 'b']);
  assert.deepEqual(words({ ...metadata, addSpacePrefix: false }, 'ab'), ['ab']);
  assert.deepEqual(words(metadata, ''), []);
});

test('SentencePiece: of equal scores the leftmost merges first', () => {
  const pieces = { '▁': -9, a: -9, b: -9, aa: -1, ab: -1 };
  assert.deepEqual(words({ ...sentencePiece({ pieces }), addSpacePrefix: false }, 'aab'), ['aa', 'b']);
});

test('SentencePiece: characters outside the vocabulary become bytes, or one unknown token a run', () => {
  const withBytes = { ...sentencePiece({ pieces: { a: -1 } }), addSpacePrefix: false };
  assert.deepEqual(words(withBytes, 'aé'), ['a', 'bytes:\\xc3', 'bytes:\\xa9']); // é is C3 A9
  const without = { ...sentencePiece({ pieces: { a: -1 }, bytes: false }), addSpacePrefix: false };
  assert.deepEqual(words(without, 'éüaé'), ['<unk>', 'a', '<unk>']);
});

test('SentencePiece: a piece whose characters are no tokens can still arise', () => {
  // "x" is in no token of its own, but "xy" is: the characters merge before they would fall back to bytes.
  const metadata = { ...sentencePiece({ pieces: { xy: -1 } }), addSpacePrefix: false };
  assert.deepEqual(words(metadata, 'xyx'), ['xy', 'x']); // a lone x is the byte 0x78, whose text is "x"
});

test('SentencePiece: text that looks like a byte token stays text', () => {
  const tokenizer = createTokenizer({ ...sentencePiece({}), addSpacePrefix: false });
  assert.equal(tokenizer.encode('<0x41>', plain).length, 6);
});

test('SentencePiece: after a control token the next stretch has its own space prefix', () => {
  const metadata = sentencePiece({ pieces: { '▁': -5, a: -5, '▁a': -1 } });
  assert.deepEqual(words(metadata, 'a<s>a', parsing), [' a', '<s>', ' a']);
});

test('broken vocabularies are refused with a code', () => {
  const code = (metadata: TokenizerMetadata): string => {
    try {
      createTokenizer(metadata);
    } catch (error) {
      assert.ok(error instanceof NibbleError);
      return `${error.code} ${error.message}`;
    }
    return 'accepted';
  };
  const good = byteLevel({ merges: ['a b'] });
  assert.equal(code(good), 'accepted');
  assert.match(code({ ...good, pre: 'martian' }), /^tokenizer_unsupported .*'martian'/);
  assert.match(code({ ...good, tokens: [], tokenTypes: new Int32Array(0) }), /^model_metadata_invalid/);
  assert.match(code({ ...good, tokenTypes: new Int32Array(3) }), /^model_metadata_invalid .*token_type/);
  assert.match(code({ ...good, bosId: good.tokens.length }), /^model_metadata_invalid/);
  assert.match(code({ ...good, extraEndIds: [-1] }), /^model_metadata_invalid/);
  for (const merge of ['a', 'a zz', 'zz a', 'b c', '']) {
    assert.match(code({ ...good, merges: [merge] }), /^model_metadata_invalid .*merges/, merge);
  }
  assert.match(code({ ...sentencePiece({}), scores: null }), /^model_metadata_invalid .*scores/);
  assert.match(code({ ...sentencePiece({ bytes: false }), unknownId: null }), /^model_metadata_invalid/);
});
