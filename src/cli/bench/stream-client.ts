/** A small streaming client: autocannon counts a stream as one response, so it knows no times between tokens. */
import { type Agent, request } from 'node:http';
import { createInterface } from 'node:readline';

export type StreamTimes = {
  /** From sending the request to its first chunk with a choice, ms. */
  readonly ttftMs: number;
  /** Between consecutive chunks, ms. */
  readonly itlMs: readonly number[];
  readonly completionTokens: number;
};

/** Fails after this time without an answer, ms: a stuck server must end the bench, not hang it. */
const STREAM_MS_MAX = 300_000;

/** Sends one streaming completion request and reads its times. Rejects on anything but a whole, well-formed stream. */
export function streamOnce(url: string, body: object, agent: Agent): Promise<StreamTimes> {
  const text = JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } });
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const sent = request(`${url}/v1/completions`, { method: 'POST', agent, headers, timeout: STREAM_MS_MAX });
    sent.on('error', reject);
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.on('response', (response) => {
      if (response.statusCode !== 200) {
        response.resume();
        reject(new Error(`status ${response.statusCode}`));
        return;
      }
      readStream(createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }), start).then(
        resolve,
        reject,
      );
    });
    sent.end(text);
  });
}

type Chunk = {
  readonly choices?: readonly unknown[];
  readonly usage?: { readonly completion_tokens?: number } | null;
  readonly error?: { readonly message?: string };
};

/** Reads the `data:` lines of one stream; `start` is when the request was sent. */
export async function readStream(lines: AsyncIterable<string>, start: number): Promise<StreamTimes> {
  const itlMs: number[] = [];
  let ttftMs: number | null = null;
  let previous = start;
  let completionTokens: number | null = null;
  let isDone = false;
  for await (const line of lines) {
    if (!line.startsWith('data: ')) continue;
    const data = line.slice('data: '.length);
    if (data === '[DONE]') {
      isDone = true;
      continue;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error !== undefined) throw new Error(chunk.error.message ?? 'an error in the stream');
    completionTokens = chunk.usage?.completion_tokens ?? completionTokens;
    if (chunk.choices === undefined || chunk.choices.length === 0) continue;
    const now = performance.now();
    if (ttftMs === null) ttftMs = now - start;
    else itlMs.push(now - previous);
    previous = now;
  }
  if (!isDone || ttftMs === null || completionTokens === null) throw new Error('the stream was cut');
  return { ttftMs, itlMs, completionTokens };
}
