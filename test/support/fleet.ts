/** Replicas behind HAProxy, as docker/haproxy/haproxy.cfg has it, and a crowd that keeps asking them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readSource } from './imports.js';
import { spawnNibble } from './real-server.js';

export const needsHaproxy: { readonly skip?: string } =
  spawnSync('haproxy', ['-v'], { stdio: 'ignore' }).status === 0 ? {} : { skip: 'needs haproxy (apt install haproxy)' };

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Waits until a URL answers 200. */
async function answers(url: string): Promise<void> {
  const end = performance.now() + 120_000;
  for (;;) {
    const isThere = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (isThere) return;
    assert.ok(performance.now() < end, `${url} doesn't answer`);
    await sleep(50);
  }
}

/** A server that can be ended and started again at the same address. */
export class Replica {
  readonly port: number;
  readonly #model: string;
  #child: ChildProcess | null = null;

  constructor(port: number, model: string) {
    this.port = port;
    this.#model = model;
  }

  async start(): Promise<void> {
    const flags = ['--model', this.#model, '--port', String(this.port), '--threads', '1', '--log-level', 'error'];
    this.#child = spawnNibble(['serve', ...flags]);
    this.#child.stdout?.resume();
    this.#child.stderr?.resume();
    await answers(`http://127.0.0.1:${this.port}/ready`);
  }

  /** Ends it; returns its exit code, null if the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    child.kill(signal);
    const [code] = await once(child, 'exit');
    return code as number | null;
  }
}

/** HAProxy by the project's own settings, with these replicas instead of those that Docker's names lead to. */
export async function startRouter(folder: string, ports: readonly number[]): Promise<{ url: string; end(): void }> {
  const port = await freePort();
  const servers = ports.map((replica, i) => `  server replica${i} 127.0.0.1:${replica}`).join('\n');
  const settings = readSource('docker/haproxy/haproxy.cfg')
    .replace(/^ {2}server-template .*$/m, servers)
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    .replace(/^ {2}log stdout .*$/m, '');
  assert.match(settings, /server replica0 /);
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, settings);
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/router`);
  return { url, end: () => void child.kill('SIGKILL') };
}

export type Outcome =
  | { readonly kind: 'whole' }
  /** A stream that ended without its final marker. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'failed'; readonly why: string };

/** One request to its end. */
export async function askOnce(url: string, isStream: boolean, seed: number): Promise<Outcome> {
  const request = { model: 'default', prompt: `Number ${seed}`, max_tokens: 24, seed, ignore_eos: true };
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...request, stream: isStream }),
    });
    if (!response.ok) return { kind: 'failed', why: `${response.status} ${await response.text()}` };
    const text = await response.text().catch(() => null);
    if (isStream) return text?.trimEnd().endsWith('data: [DONE]') ? { kind: 'whole' } : { kind: 'cut' };
    if (text === null) return { kind: 'failed', why: 'the connection broke' };
    const { usage } = JSON.parse(text) as { readonly usage: { readonly completion_tokens: number } };
    return usage.completion_tokens === 24 ? { kind: 'whole' } : { kind: 'failed', why: text };
  } catch (error) {
    return { kind: 'failed', why: String(error) };
  }
}

/** Keeps asking with so many clients at once, every third request streamed, until `stop`; then all outcomes. */
export function startCrowd(url: string, clients: number) {
  let isOver = false;
  let seed = 0;
  const plain: Outcome[] = [];
  const streams: Outcome[] = [];
  const client = async () => {
    while (!isOver) {
      seed += 1;
      const isStream = seed % 3 === 0;
      (isStream ? streams : plain).push(await askOnce(url, isStream, seed));
      await sleep(10);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    asked: () => seed,
    async stop() {
      isOver = true;
      await all;
      return { plain, streams };
    },
  };
}
