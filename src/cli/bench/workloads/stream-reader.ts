/**
 * The thread of `streams.ts`: reads streams and looks at nothing, for clients are elsewhere in earnest: on a small
 * machine they would take as much from the engine's threads as the server does.
 */
import { type ClientRequest, request } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';

/** One body for each stream. */
export type ReaderData = {
  readonly url: string;
  readonly bodies: readonly string[];
  /** Reads what the system has kept for it a few times a second. Its times then say nothing. */
  readonly rests: boolean;
};
export type ReaderMessage =
  /** Something of every stream has come. */
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly message: string }
  /** The answer to `stop`: when something came, per stream, ms since the epoch. */
  | { readonly kind: 'stopped'; readonly chunkMs: readonly (readonly number[])[] };

const { url, bodies, rests } = workerData as ReaderData;
const say = (message: ReaderMessage) => parentPort?.postMessage(message);
const nowMs = () => performance.timeOrigin + performance.now();

/** Short enough that a stream of 1,000 tokens a second doesn't fill the system's buffers, ms. */
const REST_MS = 100;
const nothing = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps, reads, sleeps: a thread that is waked by every token would take its time from the server. */
function rest(): void {
  Atomics.wait(nothing, 0, 0, REST_MS);
  setImmediate(rest);
}

const chunkMs = bodies.map((): number[] => []);
let silent = bodies.length;
const sent = bodies.map((body, i): ClientRequest => {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const one = request(`${url}/v1/completions`, { method: 'POST', headers });
  one.on('error', (error) => say({ kind: 'failed', message: error.message }));
  one.on('response', (response) => {
    if (response.statusCode !== 200) say({ kind: 'failed', message: `status ${response.statusCode}` });
    response.on('error', () => undefined); // cut by `stop`
    response.on('data', () => {
      if (chunkMs[i]?.push(nowMs()) === 1 && --silent === 0) say({ kind: 'started' });
    });
  });
  one.end(body);
  return one;
});

if (rests) rest();

parentPort?.once('message', () => {
  for (const one of sent) one.destroy();
  say({ kind: 'stopped', chunkMs });
});
