/** More clients than a server has places for, of every kind: patient, gone in the middle, talking nonsense. */
import { readFileSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../src/random.js';

export type Outcome =
  | { readonly kind: 'completed' | 'cut' }
  | { readonly kind: 'refused'; readonly status: number; readonly ms: number }
  /** Anything that a client could complain about. */
  | { readonly kind: 'wrong'; readonly what: string };

type Sent = { readonly status: number; readonly headers: IncomingMessage['headers']; readonly text: string };

const url = (server: string) => `${server}/v1/completions`;
const headersOf = (length: number) => ({ 'content-type': 'application/json', 'content-length': length });

/** Resolves with the whole answer; rejects if the connection breaks off. `prepare` gets the request first. */
function send(server: string, body: string, length: number, prepare: (one: ClientRequest) => void): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const one = request(url(server), { method: 'POST', headers: headersOf(length), agent: false });
    prepare(one);
    one.on('error', reject);
    one.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('error', reject);
      response.on('end', () => {
        one.destroy(); // what is left of a body that nobody wants
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    // A body that is announced but too long is never sent.
    if (Buffer.byteLength(body) < length) one.write(body);
    else one.end(body);
  });
}

/** Nonsense, and the status that it deserves. */
const nonsense: readonly { readonly body: string; readonly status: number; readonly length?: number }[] = [
  { body: '{"prompt": "a', status: 400 },
  { body: '{"prompt": "a", "max_tokens": -1}', status: 400 },
  { body: '{"prompt": [1, 999999999], "max_tokens": 4}', status: 400 },
  { body: '{"prompt": "a", "max_tokens": 4, "temperature": "hot"}', status: 400 },
  { body: '{"prompt": "a', status: 413, length: 64 * 1024 * 1024 },
];

async function talkNonsense(server: string, random: Random): Promise<Outcome> {
  const one = nonsense[random.below(nonsense.length)] ?? nonsense[0];
  if (one === undefined) throw new Error('no nonsense');
  const start = performance.now();
  const { status } = await send(server, one.body, one.length ?? one.body.length, () => undefined);
  if (status !== one.status) return { kind: 'wrong', what: `${status} for ${one.body}` };
  return { kind: 'refused', status, ms: performance.now() - start };
}

/** 16 to 6,000 tokens, as many short ones as long ones on a logarithmic scale. */
function makeBody(random: Random): { readonly body: string; readonly outputTokens: number; readonly streams: boolean } {
  const promptTokens = Math.round(16 * (6000 / 16) ** random.uniform());
  const outputTokens = 1 + random.below(64);
  const streams = random.below(2) === 0;
  const prompt = Array.from({ length: promptTokens }, () => 5 + random.below(40_000));
  const body = { model: 'default', prompt, max_tokens: outputTokens, ignore_eos: true, stream: streams };
  return { body: JSON.stringify(body), outputTokens, streams };
}

function judge({ status, headers, text }: Sent, outputTokens: number, streams: boolean, ms: number): Outcome {
  if (status === 429) {
    const isGood = Number(headers['retry-after']) >= 1 && text.includes('"error"');
    return isGood
      ? { kind: 'refused', status, ms }
      : { kind: 'wrong', what: `429 without what belongs to it: ${text}` };
  }
  if (status !== 200) return { kind: 'wrong', what: `status ${status}: ${text.slice(0, 300)}` };
  const isWhole = streams ? text.endsWith('data: [DONE]\n\n') : text.includes(`"completion_tokens":${outputTokens}`);
  return isWhole ? { kind: 'completed' } : { kind: 'wrong', what: `an answer that isn't whole: ${text.slice(-300)}` };
}

/** One request of a client: a fifth hang up within a moment or three seconds, a twentieth talk nonsense. */
async function visit(server: string, random: Random): Promise<Outcome> {
  const fate = random.uniform();
  if (fate < 0.05) return talkNonsense(server, random);
  const { body, outputTokens, streams } = makeBody(random);
  let isCut = false;
  let timer: NodeJS.Timeout | undefined;
  const start = performance.now();
  try {
    const sent = await send(server, body, Buffer.byteLength(body), (one) => {
      if (fate >= 0.25) return;
      const hangUp = () => {
        isCut = true;
        one.destroy(new Error('hung up'));
      };
      timer = setTimeout(hangUp, 3000 * random.uniform());
    });
    return judge(sent, outputTokens, streams, performance.now() - start);
  } catch (error) {
    return isCut ? { kind: 'cut' } : { kind: 'wrong', what: String(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** `count` clients, each with one request after the other for `ms`; who is refused waits a little. */
export async function soak(server: string, count: number, ms: number, seed: number): Promise<readonly Outcome[]> {
  const end = performance.now() + ms;
  const outcomes: Outcome[] = [];
  const client = async (i: number) => {
    const random = new Random(seed * 1000 + i);
    while (performance.now() < end) {
      const outcome = await visit(server, random);
      outcomes.push(outcome);
      if (outcome.kind === 'refused') await sleep(100 + random.below(400));
    }
  };
  await Promise.all(Array.from({ length: count }, (_, i) => client(i)));
  return outcomes;
}

/** What a process keeps in memory, MiB. Linux only. */
export function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
