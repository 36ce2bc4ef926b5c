/** Users whose prompts begin with the same system prompt, all at once: what the prefix cache saves them. */
import { Agent } from 'node:http';
import { NibbleError } from '../../../errors.js';
import { KV_BLOCK_TOKENS } from '../../../limits.js';
import { randomTokens } from '../random-tokens.js';
import { scrape } from '../server-metrics.js';
import { quantile, significant } from '../statistics.js';
import { streamOnce } from '../stream-client.js';
import { formatTable } from '../table.js';
import { completionBody } from './streams.js';
import type { Workload, WorkloadHost } from './types.js';

const usersDefault = 32;
const sharedDefault = 1500;
/** Each user's own tokens, behind the shared ones. */
const ownTokens = 20;
const outputDefault = 16;

type Load = { readonly users: number; readonly shared: number; readonly output: number; readonly isShared: boolean };

/**
 * Prompt tokens that have to be computed: the first user's all; of the others only what is behind the last full block
 * of the shared beginning. Unless the beginnings differ.
 */
export function expectedPrefill({ users, shared, isShared }: Omit<Load, 'output'>): number {
  const whole = shared + ownTokens;
  if (!isShared) return users * whole;
  return whole + (users - 1) * (whole - KV_BLOCK_TOKENS * Math.floor(shared / KV_BLOCK_TOKENS));
}

/** On a server of its own, so that nothing is remembered from before. */
async function measure(host: WorkloadHost, load: Load) {
  const { users, shared, output, isShared } = load;
  const { vocab } = host.model;
  const server = await host.start(['--kv-tokens', String(2 * users * (shared + ownTokens + output))]);
  const agent = new Agent({ maxSockets: users });
  try {
    await streamOnce(server.url, completionBody(randomTokens(200, vocab, 1), output), agent);
    const before = await scrape(server.url);
    const streams = Array.from({ length: users }, (_, i) => {
      const system = randomTokens(shared, vocab, isShared ? 2 : 1000 + i);
      const prompt = Int32Array.from([...system, ...randomTokens(ownTokens, vocab, 2000 + i)]);
      return streamOnce(server.url, completionBody(prompt, output), agent);
    });
    const ttfts = (await Promise.all(streams)).map(({ ttftMs }) => ttftMs);
    const after = await scrape(server.url);
    const prefill = (at: typeof after) => at.sum('nibble_step_tokens_total', { phase: 'prefill' });
    const [p50, max] = [0.5, 1].map((q) => significant(quantile(ttfts, q)));
    return { isShared, prefillTokens: prefill(after) - prefill(before), ttftMs: { p50, max } };
  } finally {
    agent.destroy();
    await server.stop();
  }
}

export const sharedPrefix: Workload = async (host, flags) => {
  const users = flags.concurrency?.[0] ?? usersDefault;
  const load = { users, shared: flags.prompt ?? sharedDefault, output: flags.generate ?? outputDefault };
  const runs = [];
  for (const isShared of [true, false]) {
    const run = await measure(host, { ...load, isShared });
    const expected = expectedPrefill({ ...load, isShared });
    if (run.prefillTokens !== expected) {
      const message = `${run.prefillTokens} prompt tokens were computed instead of ${expected}`;
      throw new NibbleError('bench_failed', { message });
    }
    runs.push(run);
  }
  const rows = runs.map(({ isShared, prefillTokens, ttftMs }) => [
    isShared ? 'the same' : 'their own',
    ...[prefillTokens, ttftMs.p50 ?? Number.NaN, ttftMs.max ?? Number.NaN],
  ]);
  const text = formatTable(['beginnings', 'prompt tokens computed', 'TTFT p50 ms', 'max'], rows);
  return { text, result: { users, sharedTokens: load.shared, ownTokens, runs } };
};
