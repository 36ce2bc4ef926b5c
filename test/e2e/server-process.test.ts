import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../support/fake-serve.ts', import.meta.url));

class ServerProcess {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';

  constructor(flags: object, options: object = {}) {
    const settings = JSON.stringify({ port: '0', ...flags });
    this.child = spawn(process.execPath, ['--import', 'tsx', script, settings, JSON.stringify(options)]);
    this.child.stdout?.on('data', (bytes) => {
      this.stdout += String(bytes);
    });
    this.child.stderr?.on('data', (bytes) => {
      this.stderr += String(bytes);
    });
  }

  /** Waits for a match in what was printed; the first group of it. */
  async match(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<string> {
    for (let tries = 0; tries < 2000; tries += 1) {
      const match = pattern.exec(this[stream]);
      if (match !== null) return match[1] ?? '';
      if (this.child.exitCode !== null) break;
      await sleep(10);
    }
    assert.fail(`${pattern} not in ${stream}: ${this.stdout}\n${this.stderr}`);
  }

  url(): Promise<string> {
    return this.match('stderr', /"url":"(http[^"]+)"/);
  }

  async exit(): Promise<readonly [number | null, NodeJS.Signals | null]> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
    return [this.child.exitCode, this.child.signalCode];
  }
}

async function withServer(server: ServerProcess, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    server.child.kill('SIGKILL');
  }
}

function post(url: string, extra: object = {}): Promise<Response> {
  const body = JSON.stringify({ model: 'default', prompt: 'hi', max_tokens: 4, ...extra });
  return fetch(`${url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

const running = async (url: string): Promise<boolean> =>
  /nibble_sequences_running\S* 1\n/.test(await (await fetch(`${url}/metrics`)).text());

test('the ready line names address, model, instruction set, threads, memory, energy and time to load', async () => {
  const server = new ServerProcess({ energyMeter: 'off' });
  await withServer(server, async () => {
    await server.match('stdout', /(\n)/);
    const url = await server.url();
    assert.equal(
      server.stdout,
      `nibble: ready on ${url} · model fake-model · isa avx2 · 2 threads · weights 0 MiB · KV pool 1024 tokens (3 MiB) · energy not metered · loaded in 12 ms\n`,
    );
    assert.equal((await post(url)).status, 200);
  });
});

test('the server listens while the model loads, and SIGTERM then ends it with code 0', async () => {
  const server = new ServerProcess({}, { neverLoads: true });
  await withServer(server, async () => {
    const url = await server.url();
    assert.equal((await fetch(`${url}/health`)).status, 503);
    assert.equal((await post(url)).status, 503);
    server.child.kill('SIGTERM');
    assert.deepEqual(await server.exit(), [0, null]);
  });
});

test('a model that fails to load ends the process with an error', async () => {
  const server = new ServerProcess({}, { failsToLoad: true });
  await withServer(server, async () => {
    assert.deepEqual(await server.exit(), [1, null]);
    assert.match(server.stderr, /no such model/);
  });
});

test('SIGTERM: not ready at once, running streams end, new work is refused, exit code 0', async () => {
  const server = new ServerProcess({}, { held: true });
  await withServer(server, async () => {
    await server.match('stdout', /(ready)/);
    const url = await server.url();
    const stream = await post(url, { stream: true });
    server.child.kill('SIGTERM');
    await server.match('stderr', /(draining)/);
    assert.equal((await fetch(`${url}/ready`)).status, 503);
    assert.equal((await fetch(`${url}/health`)).status, 200);
    assert.equal((await post(url)).status, 503);
    server.child.kill('SIGUSR2');
    const text = await stream.text();
    assert.match(text, /"finish_reason":"length"/);
    assert.ok(text.endsWith('data: [DONE]\n\n'));
    assert.deepEqual(await server.exit(), [0, null]);
  });
});

test('the time to drain is bounded', async () => {
  const server = new ServerProcess({ drainSeconds: '0' }, { held: true });
  await withServer(server, async () => {
    await server.match('stdout', /(ready)/);
    const url = await server.url();
    const waiting = post(url).catch(() => 'cut');
    while (!(await running(url))) await sleep(10);
    server.child.kill('SIGINT');
    assert.deepEqual(await server.exit(), [0, null]);
    assert.equal(await waiting, 'cut');
  });
});

test('a second signal ends the process at once', async () => {
  const server = new ServerProcess({}, { held: true });
  await withServer(server, async () => {
    await server.match('stdout', /(ready)/);
    const url = await server.url();
    post(url).catch(() => 'cut');
    while (!(await running(url))) await sleep(10);
    server.child.kill('SIGTERM');
    await server.match('stderr', /(draining)/);
    server.child.kill('SIGTERM');
    assert.deepEqual(await server.exit(), [143, null]);
  });
});

test('a port in use is a coded error', async () => {
  const first = new ServerProcess({});
  await withServer(first, async () => {
    const { port } = new URL(await first.url());
    const second = new ServerProcess({ port });
    assert.deepEqual(await second.exit(), [1, null]);
    assert.match(second.stderr, /Can't listen on 127\.0\.0\.1:\d+: another program listens there/);
  });
});

test('SIGHUP reads the API keys again; a wrong file changes nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-hup-'));
  const apiKeyFile = join(folder, 'keys.json');
  const write = (...keys: string[]) => {
    const entries = keys.map((key) => ({ name: key, sha256: createHash('sha256').update(key).digest('hex') }));
    writeFileSync(apiKeyFile, JSON.stringify({ keys: entries }));
  };
  write('old');
  const server = new ServerProcess({ apiKeyFile, host: '0.0.0.0' });
  try {
    await withServer(server, async () => {
      await server.match('stdout', /(\n)/);
      const url = (await server.url()).replace('0.0.0.0', '127.0.0.1');
      const status = async (key: string) =>
        (await fetch(`${url}/version`, { headers: { authorization: `Bearer ${key}` } })).status;
      assert.deepEqual([await status('old'), await status('new')], [200, 401]);
      write('new');
      server.child.kill('SIGHUP');
      await server.match('stderr', /(were read again)/);
      assert.deepEqual([await status('old'), await status('new')], [401, 200]);
      writeFileSync(apiKeyFile, '{');
      server.child.kill('SIGHUP');
      await server.match('stderr', /(stay as they were)/);
      assert.equal(await status('new'), 200);
      assert.doesNotMatch(server.stderr, /no API key is needed/);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('an address that others can reach brings a warning where no key is needed', async () => {
  const server = new ServerProcess({ host: '0.0.0.0' });
  await withServer(server, async () => {
    await server.match('stderr', /(no API key is needed)/);
  });
});

test('admin routes have an address and a key of their own, and never stand open', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-admin-'));
  const keyFile = join(folder, 'keys.json');
  const sha256 = createHash('sha256').update('admin-key').digest('hex');
  writeFileSync(keyFile, JSON.stringify({ keys: [{ name: 'operator', sha256 }] }));
  try {
    const keyless = new ServerProcess({ adminPort: '0' });
    assert.deepEqual(await keyless.exit(), [1, null]);
    assert.match(keyless.stderr, /adminPort: needs a key of its own/);
    const server = new ServerProcess({ adminPort: '0', adminKeyFile: keyFile });
    await withServer(server, async () => {
      const admin = await server.match('stdout', /· admin (http:\/\/127\.0\.0\.1:\d+)/);
      const headers = { authorization: 'Bearer admin-key' };
      const listed = await (await fetch(`${admin}/admin/models`, { headers })).text();
      assert.match(listed, /"name":"fake-model",.*"state":"ready"/);
      assert.equal((await fetch(`${admin}/admin/models`)).status, 401);
      assert.equal((await fetch(`${admin}/v1/models`, { headers })).status, 404);
      assert.equal((await fetch(`${await server.url()}/admin/models`, { headers })).status, 404);
      server.child.kill('SIGTERM');
      assert.deepEqual(await server.exit(), [0, null]);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
