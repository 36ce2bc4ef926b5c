/** `--nice` on a running server, and `nibble top` of it. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { outcome, RealServer, spawnNibble } from '../support/real-server.js';

/** The nice value of each thread, from /proc: the 17th field behind the name in brackets. */
function niceOfThreads(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]);
  });
}

test('threads that compute are nice; top shows what the server does', async () => {
  const server = await RealServer.start({ flags: ['--nice', '7', '--kv-tokens', '4096'] });
  try {
    const nice = niceOfThreads(server.pid).filter((value) => value === 7);
    // The event loop, the engine's thread and its team; a few that Node starts before it runs anything are not.
    assert.ok(nice.length > server.threads, `${nice.length} nice threads for ${server.threads} that compute`);
    const abort = new AbortController();
    const long = { prompt: 'Once', max_tokens: 4000, ignore_eos: true, stream: true };
    const working = await server.post(long, abort.signal);
    const { code, stdout } = await outcome(spawnNibble(['top', '--url', server.url]));
    abort.abort();
    await assert.rejects(working.text());
    assert.equal(code, 0);
    assert.match(stdout, /^answers +[1-9]\d* tokens\/s/m);
    assert.match(stdout, /^queue +1 running, 0 waiting/m);
  } finally {
    await server.stop();
  }
});
