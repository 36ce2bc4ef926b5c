/** A peer engine in a process of its own, so that neither its threads nor a crash touch the measurement of ours. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { Readable } from 'node:stream';
import { NibbleError } from '../../errors.js';
import type { PeerAnswer, PeerRequest } from './peer-messages.js';

/** How to start a peer: a program that speaks the protocol of peer-messages.ts. */
export type PeerProgram = {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Whether it decodes several sequences at once. */
  readonly batches: boolean;
};

/** File descriptor of the answers. */
const ANSWERS = 3;

export class PeerConnection {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor({ name, command, args }: PeerProgram) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'ignore', 'inherit', 'pipe'] });
    this.#child.on('error', () => undefined); // no such program: its answers end at once, and ask() says so
    this.#child.stdin?.on('error', () => undefined); // it ended while something was sent
    const answers = this.#child.stdio[ANSWERS];
    this.#lines = createInterface({ input: answers instanceof Readable ? answers : Readable.from([]) });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Sends one request and waits for its answer. Throws `peer_failed`. */
  async ask<K extends 'loaded' | 'ran'>(request: PeerRequest, kind: K): Promise<Extract<PeerAnswer, { kind: K }>> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const { done, value } = await this.#answers.next();
    if (done === true) throw this.#failed('its process ended');
    const answer = this.#parse(value);
    if (answer.kind === 'failed') throw this.#failed(answer.message);
    if (answer.kind !== kind) throw this.#failed(`answered "${answer.kind}" where "${kind}" was due`);
    return answer as Extract<PeerAnswer, { kind: K }>;
  }

  async stop(): Promise<void> {
    this.#lines.close();
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL'); // it holds nothing but memory
    await exited;
  }

  #parse(line: string): PeerAnswer {
    try {
      return readAnswer(JSON.parse(line));
    } catch (cause) {
      throw this.#failed(`answered "${line.slice(0, 200)}"`, cause);
    }
  }

  #failed(message: string, cause?: unknown): NibbleError {
    return new NibbleError('peer_failed', { peer: this.#name, message }, { cause });
  }
}

/** Checks what a peer sent; throws a plain Error. */
export function readAnswer(value: unknown): PeerAnswer {
  const { kind, settings, prefillSeconds, decodeSeconds, message } = value as Readonly<Record<string, unknown>>;
  const isTime = (time: unknown): time is number => typeof time === 'number' && Number.isFinite(time) && time > 0;
  if (kind === 'loaded' && typeof settings === 'string') return { kind, settings };
  if (kind === 'ran' && isTime(prefillSeconds) && isTime(decodeSeconds)) return { kind, prefillSeconds, decodeSeconds };
  if (kind === 'failed' && typeof message === 'string') return { kind, message };
  throw new Error('not an answer');
}
