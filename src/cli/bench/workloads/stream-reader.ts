/**
 * The thread of `streams.ts`: reads streams and looks at nothing, for clients are elsewhere in earnest: on a small
 * machine they would take as much from the engine's threads as the server does.
 */
import { connect, type Socket } from 'node:net';
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

const HEAD_END = '\r\n\r\n';
const chunkMs = bodies.map((): number[] => []);
let silent = bodies.length;

/** Notes when something behind the head of an answer comes. Bytes aren't looked at: that would be a client's work. */
function listen(socket: Socket, times: number[]): void {
  let head: string | null = '';
  socket.on('data', (data: Buffer) => {
    if (head !== null) {
      head += data.toString('latin1');
      const end = head.indexOf(HEAD_END);
      if (end < 0) return;
      if (!head.startsWith('HTTP/1.1 200 ')) say({ kind: 'failed', message: head.slice(0, head.indexOf('\r\n')) });
      const isEmpty = end + HEAD_END.length === head.length;
      head = null;
      if (isEmpty) return;
    }
    if (times.push(nowMs()) === 1 && --silent === 0) say({ kind: 'started' });
  });
}

const { hostname, port, host } = new URL(url);
const sockets = bodies.map((body, i): Socket => {
  const socket = connect(Number(port), hostname);
  socket.on('error', (error) => say({ kind: 'failed', message: error.message }));
  listen(socket, chunkMs[i] ?? []);
  const headers = ['content-type: application/json', `content-length: ${Buffer.byteLength(body)}`].join('\r\n');
  socket.write(`POST /v1/completions HTTP/1.1\r\nhost: ${host}\r\n${headers}\r\n\r\n${body}`);
  return socket;
});

if (rests) rest();

parentPort?.once('message', () => {
  for (const socket of sockets) socket.destroy();
  say({ kind: 'stopped', chunkMs });
});
