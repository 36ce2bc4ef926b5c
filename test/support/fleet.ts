/** Replicas that can be ended and started again, and a crowd that keeps asking the router before them. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnNibble } from './real-server.js';

/** Below the ports that systems hand out themselves: nobody takes it while its server is being started anew. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Waits until a URL answers 200. */
export async function answers(url: string): Promise<void> {
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
  readonly url: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;

  constructor(port: number, model: string, flags: readonly string[] = []) {
    this.url = `http://127.0.0.1:${port}`;
    this.#args = [
      'serve',
      '--model',
      model,
      '--port',
      String(port),
      '--threads',
      '1',
      '--log-level',
      'error',
      ...flags,
    ];
  }

  async start(): Promise<void> {
    this.#child = spawnNibble(this.#args);
    this.#child.stdout?.resume();
    this.#child.stderr?.resume();
    await answers(`${this.url}/ready`);
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

/** So many replicas of a model, all ready. */
export async function startReplicas(
  count: number,
  model: string,
  flags: readonly string[] = [],
): Promise<readonly Replica[]> {
  const replicas: Replica[] = [];
  for (let i = 0; i < count; i += 1) replicas.push(new Replica(await freePort(), model, flags));
  await Promise.all(replicas.map((replica) => replica.start()));
  return replicas;
}

export type Outcome =
  /** Times are those of `performance.now()` and between; the first token is that of a stream. */
  | { readonly kind: 'whole'; readonly startMs: number; readonly firstMs: number }
  /** A stream that had begun ended by an error event, or its connection broke: the client sees that it isn't whole. */
  | { readonly kind: 'broken' }
  /** A stream ended as if it were whole, but without its final marker. */
  | { readonly kind: 'silent' }
  | { readonly kind: 'failed'; readonly why: string };

export const outputTokens = 24;

async function readStream(response: Response, startMs: number): Promise<Outcome> {
  let text = '';
  let firstMs = 0;
  try {
    for await (const bytes of response.body ?? []) {
      text += Buffer.from(bytes as Uint8Array).toString();
      if (firstMs === 0 && text.includes('data: ')) firstMs = performance.now() - startMs;
    }
  } catch {
    return { kind: 'broken' };
  }
  if (text.trimEnd().endsWith('data: [DONE]')) return { kind: 'whole', startMs, firstMs };
  return { kind: /^data: \{"error"/m.test(text) ? 'broken' : 'silent' };
}

/** One request to its end. */
export async function askOnce(url: string, body: object, isStream: boolean): Promise<Outcome> {
  const startMs = performance.now();
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'default', max_tokens: outputTokens, ignore_eos: true, ...body, stream: isStream }),
    });
    if (!response.ok) return { kind: 'failed', why: `${response.status} ${await response.text()}` };
    if (isStream) return await readStream(response, startMs);
    const text = await response.text();
    const { usage } = JSON.parse(text) as { readonly usage: { readonly completion_tokens: number } };
    if (usage.completion_tokens !== outputTokens) return { kind: 'failed', why: text };
    return { kind: 'whole', startMs, firstMs: performance.now() - startMs };
  } catch (error) {
    return { kind: 'failed', why: `${error} ${error instanceof Error ? (error.cause ?? '') : ''}` };
  }
}

/** Keeps asking with so many clients at once, every `streamEvery`th request streamed, until `stop`: all outcomes. */
export function startCrowd(url: string, clients: number, streamEvery = 3) {
  let isOver = false;
  let seed = 0;
  const plain: Outcome[] = [];
  const streams: Outcome[] = [];
  const client = async () => {
    while (!isOver) {
      seed += 1;
      const isStream = seed % streamEvery === 0;
      (isStream ? streams : plain).push(await askOnce(url, { prompt: `Number ${seed}`, seed }, isStream));
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
