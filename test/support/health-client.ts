/** Asks a server for its health again and again over one kept connection, and takes the times. */
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../src/random.js';

const INTERVAL_MS = 20;
/** Every so many times /metrics is asked instead, as a scraper would. */
const METRICS_EVERY = 25;

function ask(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const request = get(url, { agent }, (response) => {
      response.resume();
      response.on('end', () => {
        if (response.statusCode === 200) resolve(performance.now() - start);
        else reject(new Error(`${url}: status ${response.statusCode}`));
      });
    });
    request.on('error', reject);
  });
}

/** Asks about every 20 ms for as long as `isWanted` says so; times of the answers, ms. Rejects if one isn't 200. */
export async function askWhile(serverUrl: string, isWanted: () => boolean): Promise<readonly number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const times: number[] = [];
  try {
    while (isWanted()) {
      const path = times.length % METRICS_EVERY === METRICS_EVERY - 1 ? 'metrics' : 'health';
      const ms = await ask(`${serverUrl}/${path}`, agent);
      times.push(ms);
      await sleep(Math.max(0, INTERVAL_MS - ms));
    }
    return times;
  } finally {
    agent.destroy();
  }
}

/** Random token ids: nothing of one prompt helps with another. */
export function longPrompt(tokens: number, seed: number): readonly number[] {
  const random = new Random(seed);
  return Array.from({ length: tokens }, () => 5 + random.below(40_000));
}
