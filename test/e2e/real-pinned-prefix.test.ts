/** A pinned system prompt: found by the first request, also after a restart, and no bit of the answer changes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { RealServer } from '../support/real-server.js';

const prefix = `You are the assistant of a library. ${'Name the shelf of every book that you recommend. '.repeat(12)}\n`;
const body = {
  prompt: `${prefix}Question: a book about the sea?\nAnswer:`,
  max_tokens: 12,
  temperature: 0,
  logprobs: 5,
};

test('pinned, restored, and the same answer as without', async () => {
  const home = await mkdtemp(join(tmpdir(), 'nibble-home-'));
  try {
    const file = join(home, 'system.txt');
    await writeFile(file, prefix);
    const ask = async (flags: readonly string[]) => {
      const server = await RealServer.start({
        flags: ['--home', home, '--kv-tokens', '2048', '--kv', 'kv8', ...flags],
      });
      try {
        const { choices, usage } = await server.complete(body);
        const metrics = await (await fetch(`${server.url}/metrics`)).text();
        // Of prompts only: a step behind an answer's last one may have been counted by then or not.
        const tokens = Number(/^nibble_step_tokens_total\{.*phase="prefill".*\} (\d+)$/m.exec(metrics)?.[1]);
        return { choices, cached: usage?.prompt_tokens_details?.cached_tokens ?? 0, tokens };
      } finally {
        await server.stop();
      }
    };
    const plain = await ask([]);
    const pinned = await ask(['--pin-prefix', file]);
    const restarted = await ask(['--pin-prefix', file]);
    assert.equal(plain.cached, 0);
    // All but the prefix's last, unfinished block.
    assert.ok(pinned.cached > 100 && pinned.cached % 16 === 0, `${pinned.cached}`);
    assert.equal(restarted.cached, pinned.cached);
    assert.equal(plain.tokens - restarted.tokens, pinned.cached, 'what came from the disk was not computed');
    assert.deepEqual([pinned.choices, restarted.choices], [plain.choices, plain.choices]);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});
