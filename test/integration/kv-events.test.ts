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
import { startVllmRouter } from '../support/routers.js';

type Event = { readonly type: string; readonly block_hashes: readonly number[] };
type Message = readonly [string, number, readonly [number, readonly Event[], number]];
/** Fields that are the same in all that is stored: as vLLM 0.24 sends them. */
const constant = { type: 'BlockStored', block_size: 16, lora_id: null, medium: 'GPU', lora_name: null };

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
  const server = await RealServer.start({
    model,
    flags: ['--kv-events', `${address}?topic=kv@{host}@{model}`, '--kv-tokens', '128'],
  });
  const reader = await startReader(address, 4);
  t.after(() => reader.end());
  assert.equal(await reader.line(), 'subscribed');
  // A SUB socket says what it wants right after the handshake: a request later it is known.
  await fetch(`${server.url}/health`);

  // 40 tokens and one more: two whole blocks. A prompt with the same first block adds its own second one.
  const prompt = Array.from({ length: 40 }, (_, i) => 10 + i);
  await server.complete({ prompt, max_tokens: 1 });
  const [topic, first, [seconds, stored, rank]] = await reader.message();
  assert.equal(topic, `kv@${hostname()}@tiny`);
  assert.equal(rank, 0);
  assert.ok(Math.abs(seconds - Date.now() / 1000) < 600);
  const a = hashOf(null, Int32Array.from(prompt.slice(0, 16)));
  const b = hashOf(a, Int32Array.from(prompt.slice(16, 32)));
  // JSON in Python has exact integers; here they are doubles.
  const [ha, hb] = [Number(a), Number(b)];
  const whole = { ...constant, block_hashes: [ha, hb], parent_block_hash: null, token_ids: prompt.slice(0, 32) };
  assert.deepEqual(stored, [whole]);

  const other = [...prompt.slice(0, 16), ...Array.from({ length: 20 }, (_, i) => 100 + i)];
  await server.complete({ prompt: other, max_tokens: 1 });
  const [, second, [, more]] = await reader.message();
  assert.equal(second, first + 1);
  const c = Number(hashOf(a, Int32Array.from(other.slice(16, 32))));
  assert.deepEqual(more, [{ ...constant, block_hashes: [c], parent_block_hash: ha, token_ids: other.slice(16, 32) }]);

  // Seven of eight blocks for another text: what is cached has to go, the end of a text before its beginning.
  const long = Array.from({ length: 111 }, (_, i) => 200 + (i % 50));
  await server.complete({ prompt: long, max_tokens: 1 });
  const events = [...(await reader.message())[2][1]];
  const hashesOf = (type: string) =>
    events.filter((event) => event.type === type).flatMap((event) => event.block_hashes);
  const [removed, added] = [hashesOf('BlockRemoved'), hashesOf('BlockStored')];
  if (added.length === 0) {
    const [, , [, later]] = await reader.message();
    added.push(...later.flatMap((event) => event.block_hashes));
  }
  assert.ok(removed.includes(hb) && removed.includes(c));
  assert.ok(!removed.includes(ha) || removed.indexOf(ha) > Math.max(removed.indexOf(hb), removed.indexOf(c)));
  assert.equal(added.length, 6);
  await server.stop();
});

test('vllm-router sends prompts where these events say that their beginnings lie', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-kv-events-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { seed: 2 });
  const addresses = [`tcp://127.0.0.1:${await freePort()}`, `tcp://127.0.0.1:${await freePort()}`];
  const replicas = await Promise.all(
    addresses.map((address) => RealServer.start({ model, flags: ['--kv-events', address, '--threads', '1'] })),
  );
  t.after(() => {
    for (const replica of replicas) replica.signal('SIGKILL');
  });
  const metricsPort = await freePort();
  const sources = replicas.flatMap(({ url }, i) => ['--kv-event-source', `${url}=${addresses[i]}`]);
  const flags = ['--kv-event-model', 'default', '--prometheus-port', String(metricsPort), ...sources];
  const router = await startVllmRouter(replicas, 'kv_aware', flags);
  t.after(() => router.end());
  const hits = async () => {
    const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    return Number(/^vllm_router_kv_placement_lookups_total\{result="hit"\} (\d+)/m.exec(text)?.[1] ?? 0);
  };
  const ask = async (url: string, prompt: string) => {
    const body = JSON.stringify({ model: 'default', prompt, max_tokens: 1 });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
    assert.equal(response.status, 200, await response.text());
  };
  /** Until the router knows what the replica is asked now; events come in order, so what came before is known then. */
  const settle = async ({ url }: RealServer) => {
    const [before, end] = [await hits(), performance.now() + 60_000];
    for (let i = 0; (await hits()) === before; i += 1) {
      assert.ok(performance.now() < end, 'the router finds nothing');
      const prompt = `${before} and ${i} `.repeat(12);
      await ask(url, prompt);
      await ask(router.url, prompt);
    }
  };
  for (const replica of replicas) await settle(replica);

  const prompts = ['river', 'stone', 'light', 'paper'].map((word) => `${word} `.repeat(30));
  for (const [i, prompt] of prompts.entries()) await ask(replicas[i % 2]?.url ?? '', prompt);
  for (const replica of replicas) await settle(replica);
  const cached = async () =>
    Promise.all(replicas.map(async (replica) => (await replica.metrics()).get('vllm:prefix_cache_hits_total') ?? 0));
  const [before, first] = [await hits(), await cached()];
  for (const prompt of prompts) await ask(router.url, prompt);
  assert.equal((await hits()) - before, prompts.length);
  // Each replica has answered its own two, whose whole blocks it had.
  const growth = (await cached()).map((count, i) => count - (first[i] ?? 0));
  assert.ok(Math.min(...growth) >= 2 * 64, `${growth}`);
  for (const replica of replicas) await replica.stop();
});
