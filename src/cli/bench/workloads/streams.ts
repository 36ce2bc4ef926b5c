/** Streams that run in the background of a measurement until they are no longer wanted. */
import type { Worker } from 'node:worker_threads';
import { NibbleError } from '../../../errors.js';
import { startThread } from '../../../worker-thread.js';
import { randomTokens } from '../random-tokens.js';
import type { ReaderData, ReaderMessage } from './stream-reader.js';

/** A greedy completion of exactly `outputTokens` tokens. */
export function completionBody(prompt: Int32Array, outputTokens: number): object {
  return { model: 'default', prompt: [...prompt], max_tokens: outputTokens, ignore_eos: true, temperature: 0 };
}

export type RunningStreams = {
  /** Cuts them all; when something of each came, ms since the epoch: one time per token, or rarely per two. */
  stop(): Promise<readonly (readonly number[])[]>;
};

export type StreamPrompt = { readonly tokens: number; readonly vocab: number; readonly outputTokens: number };

/** Clients that rest between reads take next to nothing from a server on the same cores, but tell no times. */
export type Clients = { readonly count: number; readonly rests: boolean };

/** Starts streams of prompts that share nothing, and waits for a token of each. */
export async function runStreams(url: string, clients: Clients, prompt: StreamPrompt): Promise<RunningStreams> {
  const bodies = Array.from({ length: clients.count }, (_, i) => {
    const body = completionBody(randomTokens(prompt.tokens, prompt.vocab, i + 1), prompt.outputTokens);
    return JSON.stringify({ ...body, stream: true });
  });
  const workerData: ReaderData = { url, bodies, rests: clients.rests };
  const worker = startThread(import.meta.url, './stream-reader', { name: 'stream-reader', workerData });
  const started = await nextMessage(worker);
  if (started.kind === 'failed') {
    await worker.terminate();
    throw new NibbleError('bench_failed', { message: `a stream could not be started: ${started.message}` });
  }
  return {
    async stop() {
      worker.postMessage('stop');
      const stopped = await nextMessage(worker);
      await worker.terminate();
      if (stopped.kind === 'stopped') return stopped.chunkMs;
      throw new NibbleError('bench_failed', { message: 'a stream broke off' });
    },
  };
}

function nextMessage(worker: Worker): Promise<ReaderMessage> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: ReaderMessage) => {
      worker.off('error', reject);
      resolve(message);
    });
  });
}
