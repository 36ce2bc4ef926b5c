/** Whatever the masks allow is valid: random texts under random schemas, judged by another validator. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { GrammarEngine, type Matcher } from '../../src/grammar/grammar-engine.js';
import { maskAt } from '../../src/grammar/shared-mask.js';
import type { Constraint } from '../../src/grammar/types.js';
import { Random } from '../../src/random.js';
import { byteTokens, END_ID } from '../support/grammar-kit.js';
import { randomSchema } from '../support/random-schema.js';

const metadata = byteTokens();
const engine = new GrammarEngine({ metadata, endIds: new Set([END_ID]), vocabSize: metadata.tokens.length });
after(() => engine.close());

const [quote, percent, ...brackets] = [...'"%}]'].map((char) => char.charCodeAt(0));

/** A random text that the constraint allows; characters that close something are likelier, and preferred after a
 * while, so that it ends. */
function randomText(constraint: Constraint, random: Random): Promise<string> {
  const bytes: number[] = [];
  return new Promise((resolve, reject) => {
    let matcher: Matcher | null = null;
    const finish = () => {
      matcher?.close();
      resolve(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes)));
    };
    matcher = engine.open(constraint, 0, {
      onMask: () => {
        const mask = matcher === null ? null : maskAt(matcher.mask, bytes.length);
        assert.ok(mask);
        const allowed = metadata.tokens.flatMap((_, id) => (((mask[id >> 5] as number) >>> (id & 31)) & 1 ? [id] : []));
        // Within a string, where any character may come, brackets close nothing.
        const closing = [END_ID, quote, ...(allowed.includes(percent as number) ? [] : brackets)];
        const ends = allowed.filter((id) => closing.includes(id));
        const closes = bytes.length > 1000 || random.below(4) === 0;
        const from = ends.length > 0 && closes ? ends : allowed;
        const token = from[random.below(from.length)] as number;
        if (token === END_ID) return finish();
        bytes.push(token);
        if (bytes.length > 5000) return reject(new Error(`no end of ${Buffer.from(bytes).toString().slice(0, 200)}`));
        matcher?.accept(token);
        matcher?.ask();
      },
      onFinished: finish,
      onError: reject,
    });
    matcher.ask();
  });
}

test('200 random schemas: every text is valid JSON and valid under its schema', async () => {
  const random = new Random(2026);
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const kinds = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const schema = randomSchema(random, 4);
    const text = await randomText({ kind: 'json_schema', schema: JSON.stringify(schema) }, random);
    const value: unknown = JSON.parse(text);
    assert.ok(ajv.validate(schema, value), `${text} under ${JSON.stringify(schema)}: ${ajv.errorsText()}`);
    kinds.add(value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
  }
  assert.deepEqual([...kinds].sort(), ['array', 'boolean', 'null', 'number', 'object', 'string']);
});

test('random texts of patterns match them as JavaScript does', async () => {
  const random = new Random(5);
  const patterns = [
    ...['a', 'a|bc|', '(ab?)+c*', '[a-c]{2,4}x', '[^a-z\\n]{3}', '\\d+\\.\\d{2}', '(?:\\w+ ){0,3}end', '.{1,5}'],
    ...[
      '\\x41\\u0042\\u{43}',
      '[\\d\\-_]+',
      '\\(\\)\\[\\]\\{\\}\\^\\$',
      '(?<year>\\d{4})(-\\d\\d){2}',
      'a{0}b{1,}?',
      '^x|y$',
    ],
  ];
  for (const pattern of patterns) {
    // As a whole, anchors or not; white space beyond ASCII can't come up here.
    const whole = new RegExp(`^(?:${pattern})$`, 'u');
    for (let i = 0; i < 20; i++) {
      const text = await randomText({ kind: 'regex', pattern }, random);
      assert.match(text, whole, pattern);
    }
  }
});

test('any object is an object', async () => {
  const random = new Random(6);
  for (let i = 0; i < 20; i++) {
    const value: unknown = JSON.parse(await randomText({ kind: 'json_object' }, random));
    assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value));
  }
});
