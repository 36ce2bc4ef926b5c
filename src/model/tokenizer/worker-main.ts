/** The tokenizer's thread: builds its tokenizer from `workerData`, then answers one text after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.js';
import { createTokenizer } from './index.js';
import { type PackedMetadata, unpackMetadata, type WorkerAnswer, type WorkerRequest } from './worker-messages.js';

const tokenizer = createTokenizer(unpackMetadata(workerData as PackedMetadata));

parentPort?.on('message', ({ job, text, options }: WorkerRequest) => {
  try {
    const ids = tokenizer.encode(text, options);
    const answer: WorkerAnswer = { kind: 'ids', job, ids };
    parentPort?.postMessage(answer, [ids.buffer as ArrayBuffer]);
  } catch (error) {
    const answer: WorkerAnswer = {
      kind: 'failed',
      job,
      message: messageOf(error),
    };
    parentPort?.postMessage(answer);
  }
});
