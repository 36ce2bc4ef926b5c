/** `nibble simulate --replicas`: a fleet of each size, under each way to route, as a table. */
import { configInvalid } from '../../errors.js';
import { formatTable, percent } from '../bench/table.js';
import { predictFleet, routings } from './fleet.js';
import type { Policy } from './policy.js';
import { type Conditions, summarize } from './predict.js';
import { parseTraceSpec } from './trace.js';

const heads = [
  ...['replicas', 'routing', 'hits', 'TTFT p50 ms', 'p95', 'p99', 'good', 'refused'],
  ...['tokens/s each', 'hours per 10⁶ tokens'],
];

/** Throws `config_invalid` if the trace isn't one that can be made for any number of replicas. */
export function fleetTable(trace: string, sizes: readonly number[], policy: Policy, conditions: Conditions): string {
  const spec = parseTraceSpec(trace);
  if (spec === null) {
    throw configInvalid('replicas', 'needs a trace of poisson:… or bursts:…');
  }
  const rows = sizes.flatMap((replicas) =>
    routings.map((routing) => {
      const result = predictFleet(spec, replicas, routing, policy, conditions);
      const { ttftMs, outputTokensPerS } = summarize(result);
      const hits = result.cachedTokens / Math.max(1, result.cachedTokens + result.prefillTokens);
      return [
        ...[replicas, routing, percent(hits), ttftMs.p50, ttftMs.p95, ttftMs.p99],
        ...[percent(result.good / result.requests), percent((result.refused + result.timedOut) / result.requests)],
        ...[outputTokensPerS / replicas, (replicas * 1e6) / outputTokensPerS / 3600],
      ];
    }),
  );
  return formatTable(heads, rows);
}
