/** lm-eval scores texts through the server; the sums are those that `nibble eval` computes without one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { defaultModelPath } from '../support/default-model.js';
import { runReference } from '../support/python.js';
import { outcome, RealServer, spawnNibble } from '../support/real-server.js';

/** Each begins with a word that is one token: the context, as `nibble eval` scores all but the first token. */
const documents = [
  ['The', ' capital of France is Paris, and the capital of Italy is Rome.'],
  ['Once', ' upon a time there was a little girl who lived in a small village near the forest.'],
  ['for', ' (let i = 0; i < 10; i++) {\n  console.log(i);\n}'],
  ['Water', ' is made of hydrogen and oxygen; naïve café 漢字 🎉 test.'],
] as const;

const folder = mkdtempSync(join(tmpdir(), 'nibble-harness-'));
let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '4096'] });
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

async function countTokens(prompt: string): Promise<number> {
  const body = JSON.stringify({ prompt, add_special_tokens: false });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}/tokenize`, { method: 'POST', headers, body });
  return ((await response.json()) as { readonly count: number }).count;
}

/** The sum of log-probabilities of all tokens but the first, by `nibble eval perplexity`: −(tokens − 1) · ln PPL. */
async function directSum(text: string, tokens: number): Promise<number> {
  const path = join(folder, 'text');
  writeFileSync(path, text);
  const model = ['--model', await defaultModelPath()];
  const args = ['eval', 'perplexity', '--data', path, '--window', String(tokens), '--json', ...model];
  const { code, stdout, stderr } = await outcome(spawnNibble(args));
  assert.equal(code, 0, stderr);
  const result: { readonly tokens: number; readonly perplexity: number } = JSON.parse(stdout);
  assert.equal(result.tokens, tokens - 1);
  return -result.tokens * Math.log(result.perplexity);
}

test('sums of lm-eval are those of nibble eval', async () => {
  const data = join(folder, 'documents.jsonl');
  const lines = documents.map(([context, continuation]) => JSON.stringify({ context, continuation }));
  writeFileSync(data, lines.join('\n'));
  const scores: readonly { readonly sum: number; readonly isGreedy: boolean }[] = JSON.parse(
    await runReference('lm_eval_scores.py', [server.url, data], 'requirements-harness'),
  );
  assert.equal(scores.length, documents.length);
  for (const [index, [context, continuation]] of documents.entries()) {
    assert.equal(await countTokens(context), 1);
    const text = context + continuation;
    const expected = await directSum(text, await countTokens(text));
    const { sum, isGreedy } = scores[index] ?? { sum: Number.NaN, isGreedy: true };
    assert.ok(Math.abs(sum - expected) < 1e-4, `${text}: ${sum} through the server, ${expected} directly`);
    assert.equal(isGreedy, false);
  }
});
