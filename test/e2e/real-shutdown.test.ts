/** kill -TERM under load: nobody is cut off in the middle of a word, and the process ends well. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinText, RealServer, readChunks } from '../support/real-server.js';

/** Four run at once, so half of these are still waiting when the signal comes. */
const flags = ['--kv-tokens', '8192', '--max-sequences', '4'];
const body = { prompt: 'Once upon a time', temperature: 0, ignore_eos: true };

const waiting = async (server: RealServer) => (await server.metrics()).get('nibble_sequences_waiting') ?? 0;
const running = async (server: RealServer) => (await server.metrics()).get('nibble_sequences_running') ?? 0;

test('SIGTERM: all who were let in get their whole answer, exit code 0', async () => {
  const server = await RealServer.start({ flags });
  // Long enough that none has ended when the last of them has been let in.
  const { text: expected } = await server.choice({ ...body, max_tokens: 300 });
  const streams = Array.from({ length: 8 }, () => server.stream({ ...body, max_tokens: 300 }));
  const whole = server.complete({ ...body, max_tokens: 300 });
  while ((await running(server)) + (await waiting(server)) < 9) await sleep(2);
  server.signal('SIGTERM');
  for (const chunks of await Promise.all(streams)) {
    assert.equal(joinText(chunks), expected);
    assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'length');
  }
  assert.equal((await whole).choices[0]?.text, expected);
  assert.deepEqual(await server.exited(), { code: 0, signal: null });
});

test('SIGTERM with no time to drain: streams end with a coded error, exit code 0', async () => {
  const server = await RealServer.start({ flags: [...flags, '--drain-seconds', '0'] });
  const open = Array.from({ length: 8 }, (_, i) => server.post({ ...body, max_tokens: 2000, stream: i < 6 }));
  while ((await running(server)) < 4) await sleep(2);
  server.signal('SIGTERM');
  for (const [i, response] of (await Promise.all(open)).entries()) {
    const text = await response.text();
    if (i >= 6) {
      assert.deepEqual([response.status, JSON.parse(text).error.code], [503, 'draining']);
      continue;
    }
    const last: object = readChunks(text).at(-1) ?? {};
    assert.ok('error' in last, text.slice(-300));
    assert.equal((last.error as { code?: string }).code, 'draining');
  }
  assert.deepEqual(await server.exited(), { code: 0, signal: null });
});

test('SIGTERM while nothing runs ends the process with code 0', async () => {
  const server = await RealServer.start({ flags });
  server.signal('SIGTERM');
  assert.deepEqual(await server.exited(), { code: 0, signal: null });
});
