/**
 * The tokenizer against the libraries that models are trained with (Python `tokenizers` and `sentencepiece`), id for
 * id and text for text, on random and nasty strings from a seed. NIBBLE_SEED replays another one.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { Tokenizer, TokenizerMetadata } from '../../src/model/types.js';
import { defaultModelPath } from '../support/default-model.js';
import { runReference } from '../support/python.js';

const STRINGS_PER_SUITE = 10_000;
const seed = Number(process.env.NIBBLE_SEED ?? 20260801);

type Suite = {
  readonly metadata:
    | (Omit<TokenizerMetadata, 'tokenTypes' | 'scores'> & { tokenTypes: number[]; scores: number[] | null })
    | null;
  readonly encodes: readonly { text: string; parseSpecial: boolean; addSpecialTokens: boolean; ids: number[] }[];
  readonly decodes: readonly { ids: number[]; keepSpecial: boolean; text: string }[];
};

const suiteNames = [
  'default-model',
  'gpt-2',
  'smollm',
  'llama-bpe',
  'qwen2',
  'default',
  'sentencepiece',
  'sentencepiece-without-bytes',
  'sentencepiece-across-words',
] as const;

let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-tokenizer-'));
  const options = ['--out', folder, '--seed', `${seed}`, '--count', `${STRINGS_PER_SUITE}`];
  await runReference('tokenizer_reference.py', [...options, '--gguf', await defaultModelPath()]);
});

after(() => rm(folder, { recursive: true, force: true }));

for (const name of suiteNames) {
  test(`${name}: ids and texts equal the reference's`, async () => {
    const suite = JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as Suite;
    const tokenizer = createTokenizer(await metadataOf(suite));
    assert.ok(suite.encodes.length >= STRINGS_PER_SUITE);
    for (const { text, ids, ...options } of suite.encodes) {
      const actual = Array.from(tokenizer.encode(text, options));
      assert.deepEqual(actual, ids, `seed ${seed}, ${JSON.stringify(options)}: ${JSON.stringify(text.slice(0, 200))}`);
    }
    for (const { ids, keepSpecial, text } of suite.decodes) {
      assert.equal(tokenizer.decode(ids, keepSpecial), text, `seed ${seed}, keep ${keepSpecial}: ${ids.slice(0, 50)}`);
      if (!keepSpecial)
        assert.equal(pieces(tokenizer, ids).join(''), text, `pieces, seed ${seed}: ${ids.slice(0, 50)}`);
    }
  });
}

async function metadataOf(suite: Suite): Promise<TokenizerMetadata> {
  if (suite.metadata === null) return (await readModelFile(await defaultModelPath())).tokenizer;
  const { tokenTypes, scores, ...rest } = suite.metadata;
  return {
    ...rest,
    extraEndIds: [],
    chatTemplate: null,
    tokenTypes: Int32Array.from(tokenTypes),
    scores: scores === null ? null : Float32Array.from(scores),
  };
}

function pieces(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const detokenizer = tokenizer.createDetokenizer();
  const texts = ids.map((id) => detokenizer.push(id));
  for (const text of texts) assert.doesNotMatch(text, /\p{Surrogate}/u, 'a piece ends within a character');
  return [...texts, detokenizer.flush()];
}
