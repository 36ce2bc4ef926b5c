/** The grammar's thread: what may follow, what is refused, and what happens when it dies. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { GrammarEngine, type Matcher } from '../../src/grammar/grammar-engine.js';
import { maskAt } from '../../src/grammar/shared-mask.js';
import type { Constraint } from '../../src/grammar/types.js';
import type { TokenizerMetadata } from '../../src/model/types.js';
import { byteTokens, END_ID, tokensOf } from '../support/grammar-kit.js';

const metadata: TokenizerMetadata = byteTokens();
const vocabSize = metadata.tokens.length;
const engine = new GrammarEngine({ metadata, endIds: new Set([END_ID]), vocabSize });
after(() => engine.close());

type Next = { readonly kind: 'finished' } | { readonly kind: 'mask'; readonly allowed: readonly string[] };

/** What the mask of a position allows. */
function namesAt(matcher: Matcher | null, position: number): string[] {
  const mask = matcher === null ? null : maskAt(matcher.mask, position);
  assert.ok(mask, `a mask of position ${position}`);
  return metadata.tokens.filter((_, id) => (((mask[id >> 5] as number) >>> (id & 31)) & 1) === 1);
}

/** Follows a text token by token; resolves with what may come behind it. */
function follow(constraint: Constraint, text: string, endsFrom = 0): Promise<Next> {
  const tokens = tokensOf(text);
  return new Promise((resolve, reject) => {
    let matcher: Matcher | null = null;
    const finish = (next: Next) => {
      matcher?.close();
      resolve(next);
    };
    let position = 0;
    matcher = engine.open(constraint, endsFrom, {
      onMask: () => {
        if (position === tokens.length) return finish({ kind: 'mask', allowed: namesAt(matcher, position) });
        matcher?.accept(tokens[position++] as number);
        matcher?.ask();
      },
      onFinished: () => finish({ kind: 'finished' }),
      onError: reject,
    });
    matcher.ask();
  });
}

const allowed = async (constraint: Constraint, text: string, endsFrom = 0): Promise<readonly string[]> => {
  const next = await follow(constraint, text, endsFrom);
  return next.kind === 'finished' ? [] : next.allowed;
};

test('a choice: what the options have next, then the end alone', async () => {
  const constraint: Constraint = { kind: 'choice', choices: ['no', 'nine', 'yes'] };
  assert.deepEqual(await allowed(constraint, ''), ['n', 'y']);
  assert.deepEqual(await allowed(constraint, 'n'), ['i', 'o']);
  assert.deepEqual(await follow(constraint, 'no'), { kind: 'finished' });
});

test('the end comes where the text may end, and not before it should', async () => {
  const constraint: Constraint = { kind: 'regex', pattern: 'ab*' };
  assert.deepEqual(await allowed(constraint, ''), ['a']);
  assert.deepEqual(await allowed(constraint, 'ab'), ['b', '</s>']);
  assert.deepEqual(await allowed(constraint, 'ab', 3), ['b']);
  assert.deepEqual(await allowed(constraint, 'abb', 3), ['b', '</s>']);
  assert.deepEqual(await allowed(constraint, 'abbb', Number.POSITIVE_INFINITY), ['b']);
  // Nothing but the end is left: it doesn't wait for more tokens.
  assert.deepEqual(await follow({ kind: 'regex', pattern: 'ab' }, 'ab', 9), { kind: 'finished' });
  assert.deepEqual(await follow({ kind: 'regex', pattern: '' }, ''), { kind: 'finished' });
});

test('a grammar, a schema, any object', async () => {
  const digits = [...'0123456789'];
  const text = 'root ::= "<" item+ ">"\nitem ::= [0-9] | "x" # one\n';
  assert.deepEqual(await allowed({ kind: 'grammar', text }, '<1'), [...digits, '>', 'x']);
  const schema = JSON.stringify({ type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'] });
  assert.deepEqual(await allowed({ kind: 'json_schema', schema }, '{"a": '), ['f', 't']);
  assert.deepEqual(await follow({ kind: 'json_schema', schema }, '{"a": true}'), { kind: 'finished' });
  assert.deepEqual(await allowed({ kind: 'json_object' }, ''), ['{']);
  assert.deepEqual(await allowed({ kind: 'json_object' }, '{'), ['"', '}']);
  // A control character, a bare quote's end, and half an escape.
  assert.ok(!(await allowed({ kind: 'json_object' }, '{"')).includes('\n'));
  assert.deepEqual(await allowed({ kind: 'json_object' }, '{"a'.concat('":')), [' ']);
  assert.deepEqual(await allowed({ kind: 'json_object' }, '{"a": "\\'), [...'"/\\bfnrtu']);
});

test('alternatives of different lengths stay apart', async () => {
  const digits = [...'0123456789'];
  const schema = JSON.stringify({ type: 'integer', exclusiveMinimum: 104361 });
  for (const text of ['81', '81111', '10436']) {
    assert.deepEqual(await allowed({ kind: 'json_schema', schema }, text), digits, text);
  }
  assert.deepEqual(await allowed({ kind: 'json_schema', schema }, '104362'), [...digits, '</s>']);
});

test('a schema with an id is a document of its own; values in a frame come one after another', async () => {
  const tool = (value: object) => ({ $id: 'tool:f', $ref: '#/$defs/v', $defs: { v: value } });
  const anyOf = [tool({ const: 1 }), { ...tool({ const: 2 }), $id: 'tool:g' }, { $ref: '#/anyOf/0/$defs/v' }];
  const schema = JSON.stringify({ anyOf, $defs: { v: { const: 3 } } });
  assert.deepEqual(await allowed({ kind: 'json_schema', schema }, ''), ['1', '2']);
  const frame = { end: ';', between: ' & ' };
  assert.deepEqual(await allowed({ kind: 'json_schema', schema, frame }, '1'), [';']);
  assert.deepEqual(await allowed({ kind: 'json_schema', schema, frame }, '1;'), [' ', '</s>']);
  assert.deepEqual(await allowed({ kind: 'json_schema', schema, frame }, '1; & '), ['1', '2']);
  const once = { ...frame, between: null };
  assert.deepEqual(await follow({ kind: 'json_schema', schema, frame: once }, '1;'), { kind: 'finished' });
});

test('values amid free text: none behind anything but a mark, and behind a mark nothing else', async () => {
  const schema = '{"enum":[1,22]}';
  const frame = { mark: '<v>\n', end: ';', between: null };
  const constraint: Constraint = { kind: 'json_schema', schema, frame };
  const every = await allowed(constraint, '');
  for (const char of ['a', '<', '>', '\n', '{', ' ', '</s>']) assert.ok(every.includes(char), char);
  for (const text of ['some text', '<', '<<', '<v', 'a<v<', '<va>', '1;', '<v>\n1;', 'x<v>\n22;y<v>\n1;z']) {
    assert.deepEqual(await allowed(constraint, text), every, JSON.stringify(text));
  }
  assert.deepEqual(await allowed(constraint, '<v>'), ['\n']);
  assert.deepEqual(await allowed(constraint, 'a<<v>'), ['\n']);
  assert.deepEqual(await allowed(constraint, '<v>\n'), ['1', '2']);
  assert.deepEqual(await allowed(constraint, 'b<v<v>\n2'), ['2']);
  assert.deepEqual(await allowed(constraint, '<v>\n1'), [';']);
});

test('what cannot be used is refused, and the next one is served', async () => {
  const invalid = { code: 'constraint_invalid' };
  for (const text of ['root ::= (', 'root ::= other', 'start ::= "a"', '', 'root ::= [z-a]']) {
    await assert.rejects(engine.compile({ kind: 'grammar', text }), invalid, text);
  }
  await assert.rejects(engine.compile({ kind: 'choice', choices: [] }), invalid);
  await assert.rejects(engine.compile({ kind: 'json_schema', schema: '{' }), invalid);
  await assert.rejects(engine.compile({ kind: 'json_schema', schema: '{"type":"object","not":{}}' }), {
    code: 'constraint_invalid',
    message: /'#'.*'not'/,
  });
  const complex = { code: 'constraint_too_complex' };
  await assert.rejects(engine.compile({ kind: 'regex', pattern: 'a'.repeat(70_000) }), complex);
  await assert.rejects(engine.compile({ kind: 'regex', pattern: '((a{99}){99}){99}' }), complex);
  assert.deepEqual(await allowed({ kind: 'choice', choices: ['a'] }, ''), ['a']);
});

test('a token against the mask ends the thread: its own text fails, others go on where they were', async () => {
  const constraint: Constraint = { kind: 'regex', pattern: 'a[bc]{3}d' };
  let wake: (what: string) => void = () => undefined;
  const other = engine.open(constraint, 0, {
    onMask: () => wake('mask'),
    onFinished: () => wake('finished'),
    onError: (error) => wake(error.code),
  });
  const nextAt = async (position: number): Promise<string> => {
    const told = new Promise<string>((resolve) => (wake = resolve));
    other.ask();
    assert.equal(await told, 'mask');
    return namesAt(other, position).join('');
  };
  assert.equal(await nextAt(0), 'a');
  other.accept(tokensOf('a')[0] as number);
  assert.equal(await nextAt(1), 'bc');
  const failure = await new Promise<string>((resolve) => {
    const bad = engine.open(constraint, 0, {
      onMask: () => {
        bad.accept(tokensOf('z')[0] as number);
        bad.ask();
      },
      onFinished: () => resolve('finished'),
      onError: (error) => resolve(error.code),
    });
    bad.ask();
  });
  assert.equal(failure, 'constraint_too_complex');
  // The new thread was told its token again.
  other.accept(tokensOf('b')[0] as number);
  assert.equal(await nextAt(2), 'bc');
  other.close();
});

test('after close everything is refused', async () => {
  const own = new GrammarEngine({ metadata, endIds: new Set([END_ID]), vocabSize });
  const waiting = own.compile({ kind: 'choice', choices: ['a'] });
  const refusal = assert.rejects(waiting, { code: 'draining' });
  await own.close();
  await refusal;
  await own.close();
  await assert.rejects(own.compile({ kind: 'choice', choices: ['a'] }), { code: 'draining' });
});
