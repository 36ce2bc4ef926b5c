/** The examples of the README, as they stand there, against a server on the default model. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { defaultModelPath } from '../support/default-model.js';
import { readSource, root } from '../support/imports.js';
import { codeBlocks } from '../support/markdown.js';
import { RealServer } from '../support/real-server.js';

const execute = promisify(execFile);
const readme = readSource('README.md');
const documentedUrl = 'http://127.0.0.1:8080';
/** What the default model says, also by llama.cpp. */
const answer = /Paris/;

let server: RealServer;
before(async () => {
  server = await RealServer.start();
});
after(() => server.stop());

const block = (language: string, pattern: RegExp): string => {
  const found = codeBlocks(readme, language).filter((text) => pattern.test(text));
  assert.equal(found.length, 1, `one ${language} block has ${pattern}`);
  return (found[0] ?? '').replaceAll(documentedUrl, server.url);
};

async function shell(text: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const { stdout } = await execute('bash', ['-euo', 'pipefail', '-c', text], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  return stdout;
}

test('curl, not streaming', async () => {
  const completion = JSON.parse(await shell(block('sh', /"temperature": 0}/)));
  assert.equal(completion.usage.completion_tokens, 8);
  assert.match(completion.choices[0].text, answer);
});

test('curl, streaming', async () => {
  const events = (await shell(block('sh', /"stream": true}/))).split('\n\n').filter((event) => event !== '');
  assert.equal(events.at(-1), 'data: [DONE]');
  const texts = events.slice(0, -1).map((event) => JSON.parse(event.replace(/^data: /, '')).choices[0]?.text ?? '');
  assert.ok(texts.length > 4);
  assert.match(texts.join(''), answer);
});

test('curl of health, readiness and metrics', async () => {
  const text = await shell(block('sh', /\/health/));
  assert.match(text, /"status":"ok"/);
  assert.match(text, /^vllm:num_requests_running\S* 0$/m);
});

test('the openai client', async (t) => {
  await mkdir(join(root, 'build'), { recursive: true });
  const folder = await mkdtemp(join(root, 'build', 'readme-'));
  t.after(() => rm(folder, { recursive: true }));
  const script = join(folder, 'example.mjs');
  await writeFile(script, block('js', /new OpenAI/));
  const { stdout } = await execute(process.execPath, [script]);
  assert.match(stdout, answer);
});

test('generate, without a server', async () => {
  const text = await shell(block('sh', /nibble generate/), { NIBBLE_MODEL: await defaultModelPath() });
  assert.match(text, answer);
});
