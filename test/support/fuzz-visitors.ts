/** Clients that go away at any moment, read slowly or not at all, or leave their connection half open. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../src/random.js';

/** How a visitor ends its visit: it closes or resets the connection, or says that it sends no more and still reads. */
type Leaving = 'close' | 'reset' | 'half-close';

/** How a visitor behaves, drawn before it starts so that the seed repeats all of them. */
export type Visit = {
  readonly body: string;
  /** Share of the body that is sent; below 1 the visitor falls silent in the middle of it. */
  readonly sentShare: number;
  /** Leaves after this many pieces of the answer … */
  readonly pieces: number;
  /** … or after this time, ms. */
  readonly patienceMs: number;
  readonly leaving: Leaving;
  /** Rests this long after each piece, ms; null: never reads. */
  readonly restMs: number | null;
};

/** Where visitors left, as far as they can know. */
export type Seen = { halfSent: number; beforeAnswer: number; whileDecoding: number; finished: number };
export const nothingSeen = (): Seen => ({ halfSent: 0, beforeAnswer: 0, whileDecoding: 0, finished: 0 });

export function drawVisit(random: Random): Visit {
  const isLong = random.below(6) === 0;
  const prompt = Array.from({ length: 1 + random.below(isLong ? 800 : 60) }, () => 5 + random.below(40_000));
  const body = {
    model: 'default',
    prompt,
    max_tokens: 1 + random.below(200),
    stream: random.below(3) > 0,
    n: 1 + random.below(2),
    ignore_eos: true,
    echo: random.below(4) === 0,
    logprobs: random.below(3) === 0 ? 2 : null,
  };
  const leavings: readonly Leaving[] = ['close', 'close', 'reset', 'reset', 'half-close'];
  const rests = [0, 0, 0, 0, 30, null] as const;
  return {
    body: JSON.stringify(body),
    sentShare: random.below(6) === 0 ? random.uniform() : 1,
    pieces: 1 + random.below(12),
    patienceMs: random.below(2) === 0 ? random.below(50) : random.below(1500),
    leaving: leavings[random.below(leavings.length)] ?? 'close',
    restMs: rests[random.below(rests.length)] ?? null,
  };
}

/** One visit, from connecting to leaving. */
export async function pay(url: string, visit: Visit, seen: Seen): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
  socket.on('error', () => {});
  let pieces = 0;
  let isComplete = false;
  const leaving = new Promise<void>((resolve) => {
    if (visit.restMs !== null) {
      socket.on('data', (data) => {
        pieces += 1;
        isComplete ||= /\r\n0\r\n\r\n$|"usage":\{[^}]*\}?[^}]*\}\}$/.test(String(data));
        if (pieces >= visit.pieces || isComplete) resolve();
        if (visit.restMs === null || visit.restMs === 0) return;
        socket.pause();
        setTimeout(() => socket.resume(), visit.restMs);
      });
    }
    socket.on('close', () => resolve());
    setTimeout(resolve, visit.patienceMs);
  });
  const lines = ['POST /v1/completions HTTP/1.1', 'host: localhost', 'content-type: application/json'];
  const isHalf = visit.sentShare < 1;
  const sent = isHalf ? visit.body.slice(0, Math.floor(visit.body.length * visit.sentShare)) : visit.body;
  socket.write(`${lines.join('\r\n')}\r\ncontent-length: ${visit.body.length}\r\n\r\n${sent}`);
  await leaving;
  if (isHalf) seen.halfSent += 1;
  else if (isComplete) seen.finished += 1;
  else if (pieces === 0) seen.beforeAnswer += 1;
  else seen.whileDecoding += 1;
  if (visit.leaving === 'half-close' && !socket.destroyed) {
    // The server may answer or close; in either case it must not wait for a connection that says nothing more.
    socket.end();
    await Promise.race([once(socket, 'close'), sleep(500)]);
  }
  if (socket.destroyed) return;
  const closed = once(socket, 'close');
  if (visit.leaving === 'reset') socket.resetAndDestroy();
  else socket.destroy();
  await closed;
}
