/** Runs node-llama-cpp for `bench peers`. Its argument is the URL of the library's entry module. */
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { messageOf } from '../../errors.js';
import type { PeerAnswer, PeerRequest } from './peer-messages.js';

/** The part of the peer's interface that is used. */
type Sequence = {
  clearHistory(): Promise<void>;
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number, void, void>;
};
type Context = { getSequence(): Sequence };
type Model = { createContext(options: object): Promise<Context> };
type Llama = { loadModel(options: object): Promise<Model> };
type PeerModule = { getLlama(options: object): Promise<Llama> };

/** A margin, for the peer rounds its context. */
const CONTEXT_MARGIN = 64;

let sequence: Sequence | undefined;

async function load(request: Extract<PeerRequest, { kind: 'load' }>): Promise<PeerAnswer> {
  const module = (await import(process.argv[2] ?? '')) as PeerModule;
  const llama = await module.getLlama({
    gpu: false,
    build: 'never',
    logLevel: 'error',
    progressLogs: false,
    maxThreads: request.threads,
  });
  const model = await llama.loadModel({ modelPath: request.modelPath });
  const context = await model.createContext({
    contextSize: request.tokensMax + CONTEXT_MARGIN,
    batchSize: 512,
    threads: { ideal: request.threads, min: request.threads },
  });
  sequence = context.getSequence();
  return { kind: 'loaded', settings: `threads ${request.threads}, batch 512, its own best CPU build` };
}

/** The first token marks the end of the prefill, as in our own measurement. */
async function run(request: Extract<PeerRequest, { kind: 'run' }>): Promise<PeerAnswer> {
  const [prompt] = request.prompts;
  if (sequence === undefined || prompt === undefined) return { kind: 'failed', message: 'no model is loaded' };
  await sequence.clearHistory();
  const start = performance.now();
  let middle = start;
  let count = 0;
  for await (const _token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (count === 0) middle = performance.now();
    if (count === request.generate) break;
    ++count;
  }
  const end = performance.now();
  if (count < request.generate) return { kind: 'failed', message: `ended after ${count} tokens` };
  return { kind: 'ran', prefillSeconds: (middle - start) / 1e3, decodeSeconds: (end - middle) / 1e3 };
}

const answers = createWriteStream('', { fd: 3 });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as PeerRequest;
  const answer = await (request.kind === 'load' ? load(request) : run(request)).catch(
    (error: unknown): PeerAnswer => ({
      kind: 'failed',
      message: messageOf(error),
    }),
  );
  answers.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
