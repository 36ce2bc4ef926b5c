/** KV-cache events of a server, read with ZeroMQ's and MessagePack's own libraries. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { hashOf } from '../../src/cli/kv-events/blocks.js';
import { freePort } from '../support/fleet.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { root } from '../support/imports.js';
import { ensurePythonEnv } from '../support/python.js';
import { RealServer } from '../support/real-server.js';

type Event = readonly [string, ...unknown[]];
type Message = readonly [string, number, readonly [number, readonly Event[]]];

/** The lines of the reader, one at a time. */
async function startReader(address: string, messages: number) {
  const python = await ensurePythonEnv('requirements-deploy');
  const args = [join(root, 'tools/reference/kv_events.py'), address, String(messages)];
  const child = spawn(python, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => String((await lines.next()).value);
  return { line, message: async () => JSON.parse(await line()) as Message, end: () => child.kill() };
}

test('blocks that prompts fill, share and drive out of the cache, as a router sees them', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-kv-events-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { seed: 2 });
  const address = `tcp://127.0.0.1:${await freePort()}`;
  // Eight blocks of 16 tokens.
  const server = await RealServer.start({ model, flags: ['--kv-events', address, '--kv-tokens', '128'] });
  const reader = await startReader(address, 4);
  t.after(() => reader.end());
  assert.equal(await reader.line(), 'subscribed');
  // A SUB socket says what it wants right after the handshake: a request later it is known.
  await fetch(`${server.url}/health`);

  // 40 tokens and one more: two whole blocks. A prompt with the same first block adds its own second one.
  const prompt = Array.from({ length: 40 }, (_, i) => 10 + i);
  await server.complete({ prompt, max_tokens: 1 });
  const [topic, first, [seconds, stored]] = await reader.message();
  assert.equal(topic, `kv@${hostname()}@tiny`);
  assert.ok(Math.abs(seconds - Date.now() / 1000) < 600);
  const a = hashOf(null, Int32Array.from(prompt.slice(0, 16)));
  const b = hashOf(a, Int32Array.from(prompt.slice(16, 32)));
  // JSON in Python has exact integers; here they are doubles.
  const [ha, hb] = [Number(a), Number(b)];
  assert.deepEqual(stored, [['BlockStored', [ha, hb], null, prompt.slice(0, 32), 16, null]]);

  const other = [...prompt.slice(0, 16), ...Array.from({ length: 20 }, (_, i) => 100 + i)];
  await server.complete({ prompt: other, max_tokens: 1 });
  const [, second, [, more]] = await reader.message();
  assert.equal(second, first + 1);
  const c = Number(hashOf(a, Int32Array.from(other.slice(16, 32))));
  assert.deepEqual(more, [['BlockStored', [c], ha, other.slice(16, 32), 16, null]]);

  // Seven of eight blocks for another text: what is cached has to go, the end of a text before its beginning.
  const long = Array.from({ length: 111 }, (_, i) => 200 + (i % 50));
  await server.complete({ prompt: long, max_tokens: 1 });
  const events = [...(await reader.message())[2][1]];
  const removed = events.filter(([kind]) => kind === 'BlockRemoved').flatMap(([, hashes]) => hashes as number[]);
  const added = events.filter(([kind]) => kind === 'BlockStored').flatMap(([, hashes]) => hashes as number[]);
  if (added.length === 0) {
    const [, , [, later]] = await reader.message();
    added.push(...later.flatMap(([, hashes]) => hashes as number[]));
  }
  assert.ok(removed.includes(hb) && removed.includes(c));
  assert.ok(!removed.includes(ha) || removed.indexOf(ha) > Math.max(removed.indexOf(hb), removed.indexOf(c)));
  assert.equal(added.length, 6);
  await server.stop();
});
