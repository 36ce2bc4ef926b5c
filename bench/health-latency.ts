/**
 * How long /health and /metrics take while a long prompt is prefilled, and while nothing runs.
 * Usage: node --import tsx bench/health-latency.ts [--model FILE] [--threads N] [--tokens 8000] [--rounds 2]
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { percentiles } from '../src/cli/bench/statistics.js';
import { askWhile, longPrompt } from '../test/support/health-client.js';
import { RealServer } from '../test/support/real-server.js';

const IDLE_MS = 3000;

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    threads: { type: 'string', default: 'auto' },
    tokens: { type: 'string', default: '8000' },
    rounds: { type: 'string', default: '2' },
  },
});

function print(name: string, times: readonly number[], note = ''): void {
  const { p50, p99 } = percentiles(times);
  const max = Math.max(...times);
  console.log(
    `${name.padEnd(8)} ${String(times.length).padStart(5)} answers  p50 ${p50.toFixed(2)} ms  p99 ${p99.toFixed(2)} ms` +
      `  max ${max.toFixed(2)} ms${note}`,
  );
}

const tokens = Number(values.tokens);
const flags = ['--threads', values.threads, '--kv-tokens', String(tokens + 256)];
const server = await RealServer.start({ flags, ...(values.model === undefined ? {} : { model: values.model }) });
try {
  console.log(`${server.readyLine.trim()}\nload of the machine before: ${loadavg()[0]?.toFixed(2)}`);
  const end = performance.now() + IDLE_MS;
  print('idle', await askWhile(server.url, () => performance.now() < end));
  for (let round = 0; round < Number(values.rounds); round += 1) {
    let isRunning = true;
    const start = performance.now();
    const completion = server.complete({ prompt: longPrompt(tokens, round), max_tokens: 1 }).finally(() => {
      isRunning = false;
    });
    const times = await askWhile(server.url, () => isRunning);
    await completion;
    const seconds = (performance.now() - start) / 1000;
    print('prefill', times, `  (${tokens} tokens in ${seconds.toFixed(1)} s)`);
  }
} finally {
  await server.stop();
}
