/** What steps cost: five numbers as they were printed, or what a running server has learned from its own. */
import { configInvalid, NibbleError } from '../../errors.js';
import type { CostParameters } from '../../scheduler/step-cost.js';
import { scrape } from '../bench/server-metrics.js';
import { significant } from '../bench/statistics.js';

/** In the order of `CostParameters`. */
const labels = ['step', 'token', 'row', 'prefill_position', 'decode_position'] as const;

function asCost(numbers: readonly number[]): CostParameters | null {
  const [a = -1, b = -1, r = -1, p = -1, d = -1] = numbers;
  return numbers.length === 5 && numbers.every((value) => value >= 0 && value < 1e6) ? [a, b, r, p, d] : null;
}

/** Learned by the server at `url` from its last few hundred steps. */
export async function serverCost(url: string): Promise<CostParameters> {
  const metrics = await scrape(url);
  const cost = asCost(labels.map((per) => significant(metrics.sum('nibble_step_cost_ms', { per }))));
  if (cost !== null) return cost;
  throw new NibbleError('bench_failed', { message: `the step costs of ${url} make no sense` });
}

/** Reads `1.7,0.19,0.03,0.0002,0.0005` or `http://host:port`. */
export async function readCost(text: string): Promise<CostParameters> {
  if (/^https?:\/\//.test(text)) return serverCost(text.replace(/\/$/, ''));
  const cost = asCost(text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part))));
  if (cost !== null) return cost;
  const message = 'must be the address of a server, or ms per: step, token, row, prompt position, decode position';
  throw configInvalid('cost', message);
}
