/**
 * Runs node-llama-cpp in a process of its own, so that neither its threads nor a crash touch the measurement of ours.
 * Started by fork(); answers one message at a time.
 */
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

let sequence: Sequence | undefined;

async function load(request: Extract<PeerRequest, { kind: 'load' }>): Promise<PeerAnswer> {
  const module = (await import(request.entry)) as PeerModule;
  const llama = await module.getLlama({
    gpu: false,
    build: 'never',
    logLevel: 'error',
    progressLogs: false,
    maxThreads: request.threads,
  });
  const model = await llama.loadModel({ modelPath: request.modelPath });
  const context = await model.createContext({
    contextSize: request.contextTokens,
    batchSize: 512,
    threads: { ideal: request.threads, min: request.threads },
  });
  sequence = context.getSequence();
  return { kind: 'loaded' };
}

/** The first token marks the end of the prefill, as in our own measurement. */
async function run(request: Extract<PeerRequest, { kind: 'run' }>): Promise<PeerAnswer> {
  if (sequence === undefined) return { kind: 'failed', message: 'no model is loaded' };
  await sequence.clearHistory();
  const start = performance.now();
  let middle = start;
  let count = 0;
  for await (const _token of sequence.evaluate(request.tokens, { temperature: 0, yieldEogToken: true })) {
    if (count === 0) middle = performance.now();
    if (count === request.generate) break;
    ++count;
  }
  const end = performance.now();
  if (count < request.generate) return { kind: 'failed', message: `ended after ${count} tokens` };
  return { kind: 'ran', prefillSeconds: (middle - start) / 1e3, decodeSeconds: (end - middle) / 1e3 };
}

process.on('message', (request: PeerRequest) => {
  const answer = (message: PeerAnswer) => process.send?.(message);
  (request.kind === 'load' ? load(request) : run(request)).then(answer, (error: unknown) =>
    answer({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});

// The parent is gone: nobody will ask again.
process.on('disconnect', () => process.exit(0));
