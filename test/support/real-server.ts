/** `nibble serve` on the real model, as a process of its own, and the little that tests ask of it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CompletionBody, CompletionChunk } from '../../src/server/schemas/completion-response.js';
import { defaultModelPath } from './default-model.js';
import { program } from './program.js';

export type Choice = CompletionBody['choices'][number];
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type RealServerOptions = {
  /** A model file; default: the default model. */
  readonly model?: string;
  /** Flags of `nibble serve`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A program that starts the server, such as a shell that enters a cgroup first. */
  readonly launcher?: readonly string[];
};

const readyMsMax = 120_000;
const idleMsMax = 60_000;

/** The tests' own settings must not reach the server, except for which build of the addon is tested. */
function cleanEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('NIBBLE_') || name === 'NIBBLE_ADDON_BUILD',
  );
  return Object.fromEntries(kept.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Runs `nibble` with these arguments. */
export function spawnNibble(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  launcher: readonly string[] = [],
): ChildProcess {
  const [command = process.execPath, ...rest] = [...launcher, process.execPath, ...program, ...args];
  return spawn(command, rest, { env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Collects what a process prints until it ends. */
export async function outcome(
  child: ChildProcess,
): Promise<Exit & { readonly stdout: string; readonly stderr: string }> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (bytes) => {
    stdout += String(bytes);
  });
  child.stderr?.on('data', (bytes) => {
    stderr += String(bytes);
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, stdout, stderr };
}

export class RealServer {
  readonly url: string;
  readonly pid: number;
  readonly readyLine: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, readyLine: string) {
    this.#child = child;
    this.readyLine = readyLine;
    this.pid = child.pid ?? -1;
    this.url = /ready on (\S+)/.exec(readyLine)?.[1] ?? '';
  }

  /** Starts a server and waits until it is ready. */
  static async start(options: RealServerOptions = {}): Promise<RealServer> {
    const model = options.model ?? (await defaultModelPath());
    const args = ['serve', '--model', model, '--port', '0', '--log-level', 'warn', ...(options.flags ?? [])];
    const child = spawnNibble(args, options.env, options.launcher);
    let [stdout, stderr] = ['', ''];
    child.stdout?.on('data', (bytes) => {
      stdout += String(bytes);
    });
    child.stderr?.on('data', (bytes) => {
      stderr += String(bytes);
    });
    const end = performance.now() + readyMsMax;
    while (!stdout.includes('\n')) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      if (hasEnded || performance.now() > end) {
        child.kill('SIGKILL');
        assert.fail(`the server is not ready: ${child.exitCode} ${child.signalCode} ${stderr}`);
      }
      await sleep(10);
    }
    return new RealServer(child, stdout);
  }

  /** The text between `name ` and the next separator of the ready line, such as the level after `isa`. */
  get level(): string {
    return /isa (\S+)/.exec(this.readyLine)?.[1] ?? '';
  }

  get threads(): number {
    return Number(/(\d+) threads?/.exec(this.readyLine)?.[1]);
  }

  post(body: unknown, signal?: AbortSignal): Promise<Response> {
    return fetch(`${this.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify({ model: 'default', ...(body as object) }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** An unstreamed completion, which must succeed. */
  async complete(body: object): Promise<CompletionBody> {
    const response = await this.post(body);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return JSON.parse(text) as CompletionBody;
  }

  /** The first choice of an unstreamed completion. */
  async choice(body: object): Promise<Choice> {
    const [first] = (await this.complete(body)).choices;
    assert.ok(first);
    return first;
  }

  /** A streamed completion, which must succeed and be whole: its chunks without the final marker. */
  async stream(body: object): Promise<readonly CompletionChunk[]> {
    const response = await this.post({ ...body, stream: true });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return readChunks(text);
  }

  /** Every series of /metrics, summed over labels. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const response = await fetch(`${this.url}/metrics`);
    assert.equal(response.status, 200);
    const sums = new Map<string, number>();
    for (const line of (await response.text()).split('\n')) {
      const [, name, value] = /^([a-z_:]+)(?:\{.*\})? (\S+)$/i.exec(line) ?? [];
      if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value));
    }
    return sums;
  }

  /** Waits until nothing runs, waits or holds KV blocks. What is still there after a minute has leaked. */
  async becomeIdle(): Promise<void> {
    const names = ['nibble_sequences_running', 'nibble_sequences_waiting', 'nibble_kv_blocks_used'];
    const end = performance.now() + idleMsMax;
    for (;;) {
      const metrics = await this.metrics();
      const left = names.map((name) => metrics.get(name));
      if (left.every((value) => value === 0)) return;
      if (performance.now() > end) assert.deepEqual(left, [0, 0, 0], `${names}`);
      await sleep(20);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async exited(): Promise<Exit> {
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return { code: child.exitCode, signal: child.signalCode };
  }

  /** Ends the server as an operator would; it must end well. */
  async stop(): Promise<void> {
    this.signal('SIGTERM');
    const late = setTimeout(() => this.signal('SIGKILL'), readyMsMax);
    assert.deepEqual(await this.exited(), { code: 0, signal: null });
    clearTimeout(late);
  }
}

/** The chunks of a whole event stream; comments are skipped, the final marker must be there. */
export function readChunks(text: string): readonly CompletionChunk[] {
  const data = text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice('data: '.length));
  assert.equal(data.at(-1), '[DONE]', 'the stream was cut');
  return data.slice(0, -1).map((item) => JSON.parse(item));
}

export function joinText(chunks: readonly CompletionChunk[], index = 0): string {
  const own = chunks.flatMap(({ choices }) => choices).filter((choice) => choice.index === index);
  return own.map(({ text }) => text).join('');
}
