/** docs/security.md: that the tests it names exist, and what no other test shows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grammarOf } from '../../src/grammar/source.js';
import { ConstraintError } from '../../src/grammar/types.js';
import { parseHubReference } from '../../src/model/sources/registry.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import { readSource, trackedFiles } from '../support/imports.js';
import { byteLevel, parsing, sentencePiece } from '../support/tokenizer-vocabularies.js';

test('every threat has a test that exists', () => {
  const rows = readSource('docs/security.md').match(/^\| .*$/gm) ?? [];
  const threats = rows.slice(rows.findIndex((row) => row.startsWith('| Threat')) + 2);
  assert.ok(threats.length >= 25);
  for (const row of threats) {
    const shown = row.split(' | ').at(-1) ?? '';
    const tests = [...shown.matchAll(/`(test\/[^`]+)`: "([^"]+)"/g)];
    assert.ok(tests.length > 0, row);
    for (const [, file = '', name = ''] of tests) {
      const starts = ["'", '`', '"'].map((quote) => `${quote}${name}`);
      const source = readSource(file);
      assert.ok(
        starts.some((start) => source.includes(`(${start}`) || source.includes(`\n  ${start}`)),
        `${file} has no test "${name}"`,
      );
    }
  }
});

test('the page never makes HTML of text', () => {
  const files = trackedFiles('src/ui/*.ts', 'src/ui/*.tsx', 'src/ui/*.html');
  assert.ok(files.length > 5);
  const risky =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|dangerously|srcdoc|eval\(|new Function/;
  for (const file of files) assert.doesNotMatch(readSource(file), risky, file);
});

const refused = (schema: unknown) => () => grammarOf({ kind: 'json_schema', schema: JSON.stringify(schema) });

test('a schema refers to nothing outside itself', () => {
  for (const $ref of [
    'http://127.0.0.1/x.json',
    'file:///etc/passwd',
    'other.json',
    '//evil.example/x',
    '#/$defs/none',
  ]) {
    assert.throws(refused({ $ref, $defs: {} }), ConstraintError, $ref);
  }
  for (const $ref of ['#/__proto__', '#/constructor', '#/$defs/toString']) {
    assert.throws(refused({ $ref, $defs: {} }), ConstraintError, $ref);
  }
});

/** `d0` is a choice of two `d1`, and so on: 2ⁿ texts in n lines. */
function doubling(count: number): object {
  const pair = (i: number) => ({ prefixItems: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] });
  const definitions = Array.from({ length: count }, (_, i) => [`d${i}`, { type: 'array', ...pair(i), minItems: 2 }]);
  return { $ref: '#/$defs/d0', $defs: { ...Object.fromEntries(definitions), [`d${count}`]: { const: 1 } } };
}

test('bombs of schemas and patterns are refused before they are compiled', () => {
  const deep = (depth: number): object => (depth === 0 ? {} : { type: 'array', items: deep(depth - 1) });
  const wide = { type: 'string', minLength: 100_000 };
  const loop = { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } };
  for (const schema of [deep(200), wide, loop, { type: 'array', minItems: 1e9 }, { enum: ['x'.repeat(70_000)] }]) {
    assert.throws(refused(schema), ConstraintError, JSON.stringify(schema).slice(0, 80));
  }
  // References become rules, once each: what they stand for may double as often as it likes.
  assert.ok(refused(doubling(15))().length < 20_000);
  for (const pattern of [
    '((((a{99}){99}){99}){99})',
    '(a|b){1,100000}',
    '('.repeat(100),
    'a'.repeat(70_000),
    '((a*)*)*{1000}',
  ]) {
    assert.throws(() => grammarOf({ kind: 'regex', pattern }), ConstraintError, pattern.slice(0, 40));
  }
});

test('no text makes the tokenizer slow', () => {
  // Quadratic work on 200,000 characters would take minutes and run into the limit of the test runner.
  const length = 200_000;
  const texts = ['a', ' ', '\n', '\t \n', "'s", 'e\u0301', '\ud800', '<|im_start', '0'].map((part) =>
    part.repeat(length / part.length),
  );
  for (const metadata of [byteLevel({ merges: ['a a', 'aa aa'] }), sentencePiece({ pieces: { a: -1, aa: -2 } })]) {
    const tokenizer = createTokenizer(metadata);
    for (const text of texts) {
      const ids = tokenizer.encode(`x${text}y`, parsing);
      assert.ok(ids.length >= length / 16, JSON.stringify(text.slice(0, 10)));
    }
  }
});

test('names of the hub stay within its folder', () => {
  for (const name of [
    'hf:../../x.gguf',
    'hf:a/../x.gguf',
    'hf:a/b/../../x.gguf',
    'hf:a/b/./x.gguf',
    'hf:a//b/x.gguf',
  ]) {
    assert.throws(() => parseHubReference(name), { code: 'model_unknown' }, name);
  }
  for (const name of ['hf:a/b/\\..\\x.gguf', 'hf:a/b/x\0.gguf', 'hf:/etc/x.gguf', 'hf:a/b/%2e%2e/x.gguf']) {
    assert.throws(() => parseHubReference(name), { code: 'model_unknown' }, name);
  }
});
