/** How each pre-tokenizer cuts text; expectations follow from the published regular expressions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { preTokenizers } from '../../src/model/tokenizer/pre-tokenizers.js';

function cut(name: string, text: string): string[] {
  const preTokenizer = preTokenizers.get(name);
  assert.ok(preTokenizer !== undefined, name);
  const words: string[] = [];
  for (let pos = 0; pos < text.length; ) {
    const end = preTokenizer.next(text, pos, text.length);
    assert.ok(end > pos && end <= text.length, `${name}: ${pos} → ${end}`);
    words.push(text.slice(pos, end));
    pos = end;
  }
  return words;
}

const cases: readonly { readonly name: string; readonly text: string; readonly words: readonly string[] }[] = [
  // GPT-2: a blank goes with the next word; of several blanks only the last one does; contractions in lower case only.
  { name: 'gpt-2', text: "We've  12 cats!\n\nOK", words: ['We', "'ve", ' ', ' 12', ' cats', '!', '\n', '\n', 'OK'] },
  { name: 'gpt-2', text: "IT'S", words: ['IT', "'", 'S'] },
  { name: 'gpt-2', text: 'a \t', words: ['a', ' \t'] },
  // SmolLM: every digit alone, and nothing goes with it.
  { name: 'smollm', text: 'x  12½ y', words: ['x', '  ', '1', '2', '½', ' y'] },
  // Llama 3: three digits at once, contractions in any case, one symbol goes with the word, newlines with symbols.
  { name: 'llama-bpe', text: "12345 I'LL", words: ['123', '45', ' I', "'LL"] },
  { name: 'llama-bpe', text: '(foo)\n\nbar', words: ['(foo', ')\n\n', 'bar'] },
  { name: 'llama-bpe', text: ' \n  \n  x', words: [' \n  \n', ' ', ' x'] },
  { name: 'llama-bpe', text: '\tx !!\n', words: ['\tx', ' !!\n'] },
  { name: 'llama-bpe', text: "it'\u017f", words: ['it', "'\u017f"] }, // ſ folds to s
  { name: 'llama-bpe', text: "it'\u017ft", words: ['it', "'\u017f", 't'] },
  // Qwen2: the same, but each digit alone.
  { name: 'qwen2', text: '12 a', words: ['1', '2', ' a'] },
  // Default: punctuation first, so an apostrophe is never part of a contraction; ASCII digits in threes, others whole.
  { name: 'default', text: "it's $5", words: ['it', "'", 's', ' ', '$', '5'] },
  { name: 'default', text: '1234 ½123', words: ['123', '4', ' ', '½', '123'] },
  { name: 'default', text: 'a  b ©', words: ['a', ' ', ' b', ' ©'] },
  // \s is Unicode's: U+0085 counts, U+FEFF does not.
  { name: 'gpt-2', text: '\u0085\u0085\ufeff', words: ['\u0085', '\u0085', '\ufeff'] },
];

for (const { name, text, words } of cases) {
  test(`${name} cuts ${JSON.stringify(text)}`, () => assert.deepEqual(cut(name, text), words));
}

/** The same rules as JavaScript regular expressions (for text where both agree on \s and on letter case). */
const modern = (digits: string): RegExp =>
  new RegExp(
    "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" +
      `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    'gu',
  );
const patterns = new Map([
  ['gpt-2', /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu],
  ['llama-bpe', modern('{1,3}')],
  ['qwen2', modern('')],
]);

for (const [name, pattern] of patterns) {
  test(`${name}: the scanner equals the regular expression`, () => {
    const unit = fc.constantFrom(..." '\n\r\tsStTrReElLabé日1²!-😀\u0301\u00a0");
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 30 }), (units) => {
        const text = units.join('');
        assert.deepEqual(cut(name, text), text.match(pattern) ?? []);
      }),
      { numRuns: 2000 },
    );
  });
}
