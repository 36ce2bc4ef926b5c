/** A server that may open few files: connections beyond that wait or are dropped, nothing else breaks. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { RealServer, readChunks } from '../support/real-server.js';

const filesMax = 64;
const strangers = 100;

/** Files that the server holds open. */
const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

async function until(isTrue: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 60_000;
  while (!isTrue()) {
    assert.ok(performance.now() < end, what);
    await sleep(20);
  }
}

test('out of files: a stream under way ends whole, and afterwards everything is as before', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { seed: 4, context: 2048 });
  const launcher = ['bash', '-c', `ulimit -n ${filesMax}; exec "$@"`, 'limited'];
  const server = await RealServer.start({ model, launcher, flags: ['--kv-tokens', '4096'] });
  t.after(() => server.signal('SIGKILL'));
  const before = await server.complete({ prompt: 'Before', max_tokens: 8, temperature: 0, ignore_eos: true });
  const atRest = openFiles(server.pid);
  const streaming = await server.post({ prompt: 'Once', max_tokens: 1500, ignore_eos: true, stream: true });

  const sockets: Socket[] = [];
  for (let i = 0; i < strangers; i += 1) {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    sockets.push(socket);
  }
  await until(() => openFiles(server.pid) >= filesMax - 1, 'the limit is reached');
  // The stream has its connection: it doesn't notice.
  const chunks = readChunks(await streaming.text());
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'length');

  await Promise.all(
    sockets.map(async (socket) => {
      if (socket.closed) return;
      socket.destroy();
      await once(socket, 'close');
    }),
  );
  await until(() => openFiles(server.pid) <= atRest + 2, 'what strangers held is given back');
  const after = await server.complete({ prompt: 'Before', max_tokens: 8, temperature: 0, ignore_eos: true });
  assert.equal(after.choices[0]?.text, before.choices[0]?.text);
  await server.becomeIdle();
  await server.stop();
});
