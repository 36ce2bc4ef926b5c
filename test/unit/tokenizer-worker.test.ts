import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { NibbleError } from '../../src/errors.js';
import { TOKENIZER_WAITING_MAX } from '../../src/limits.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import { TokenizerWorker } from '../../src/model/tokenizer/worker.js';
import { byteLevel, parsing, plain, sentencePiece } from '../support/tokenizer-vocabularies.js';

const byteMetadata = byteLevel({ pre: 'llama-bpe', merges: ['a b', 'ab a'], control: ['<|end|>'], tokens: ['hello'] });

const hasCode = (code: string) => (error: unknown) => error instanceof NibbleError && error.code === code;

test('the thread gives the ids that the event loop would, in both families', async (t) => {
  for (const metadata of [byteMetadata, sentencePiece({ pieces: { '▁a': -1, '\u0000b': -2 } })]) {
    const worker = new TokenizerWorker(metadata);
    t.after(() => worker.close());
    const here = createTokenizer(metadata);
    const texts = ['', 'hello ababa<|end|>', 'a\u0000b', '\ud800', '日本 '.repeat(2000)];
    const answers = await Promise.all(texts.map((text) => worker.encode(text, parsing)));
    assert.deepEqual(
      answers,
      texts.map((text) => here.encode(text, parsing)),
    );
  }
});

test('closing rejects what waits and what comes later, and can be repeated', async () => {
  const worker = new TokenizerWorker(byteMetadata);
  const waiting = worker.encode('ab', plain);
  const rejected = assert.rejects(waiting, hasCode('draining'));
  await worker.close();
  await worker.close();
  await rejected;
  await assert.rejects(worker.encode('ab', plain), hasCode('draining'));
});

test('a worker that was never used closes at once', async () => {
  await new TokenizerWorker(byteMetadata).close();
});

test('more waiting texts than the bound are refused, and the others answered', async (t) => {
  const worker = new TokenizerWorker(byteMetadata);
  t.after(() => worker.close());
  const accepted = Array.from({ length: TOKENIZER_WAITING_MAX }, () => worker.encode('ab', plain));
  await assert.rejects(worker.encode('ab', plain), hasCode('queue_full'));
  const ab = byteMetadata.tokens.indexOf('ab');
  for (const ids of await Promise.all(accepted)) assert.deepEqual(ids, Int32Array.of(ab));
  assert.deepEqual(await worker.encode('ab', plain), Int32Array.of(ab));
});

test('a thread that cannot start fails its texts with a code', async (t) => {
  const worker = new TokenizerWorker({ ...byteMetadata, merges: ['no such'] });
  t.after(() => worker.close());
  await assert.rejects(worker.encode('ab', plain), hasCode('engine_failed'));
  await assert.rejects(worker.encode('ab', plain), hasCode('engine_failed'));
});

test('an idle worker does not keep the process alive', async () => {
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `
    import { TokenizerWorker } from ${url('../../src/model/tokenizer/worker.ts')};
    import { byteLevel, plain } from ${url('../support/tokenizer-vocabularies.ts')};
    const ids = await new TokenizerWorker(byteLevel({})).encode('A', plain);
    console.log(ids.join());
  `;
  // Ends by itself, or is killed, which rejects.
  const options = { timeout: 60_000, killSignal: 'SIGKILL' } as const;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, options);
  assert.equal(stdout, '65\n'); // id of the byte of "A"
});
