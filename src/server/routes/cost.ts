import type { FastifyInstance, FastifyRequest } from 'fastify';
import { NibbleError } from '../../errors.js';
import { LEDGER_PAGE_LINES_MAX } from '../../limits.js';
import type { Group, Report, ReportLine, ReportQuery } from '../../metering/ledger/types.js';
import { type CostLine, CostQuery, type CostReport, type CostSums } from '../schemas/cost-report.js';

/** What the route asks for its figures. */
export type CostReports = { report(query: ReportQuery): Promise<Report> };

const dayMs = 86_400_000;
const pageLines = 100;
const isGroup = (name: string): name is Group => name === 'key' || name === 'model' || name === 'recipe';

function invalid(param: keyof CostQuery, message: string): NibbleError {
  return new NibbleError('invalid_request', { message: `'${param}' ${message}` }, { param });
}

/** Milliseconds since 1970. A date alone is midnight, UTC. */
function readTime(param: 'from' | 'to', text: string): number {
  if (/^\d{1,10}(\.\d{1,6})?$/.test(text)) return Math.round(Number(text) * 1000);
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const ms = isTime ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw invalid(param, 'must be a time as 2026-01-31T12:00:00Z, a date, or Unix seconds.');
}

function readAfter(text: string, count: number): readonly string[] {
  let values: unknown;
  try {
    values = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    values = null;
  }
  const isWhole = Array.isArray(values) && values.length === count && values.every((one) => typeof one === 'string');
  if (!isWhole) throw invalid('after', "must be 'next' of a page that was asked for with the same 'group_by'.");
  return values as string[];
}

/** Throws `invalid_request`. */
function readQuery({ from, to, group_by, limit, after }: CostQuery, key: string | null, nowMs: number): ReportQuery {
  const groupBy = (group_by ?? '').split(',').filter(isGroup);
  if (new Set(groupBy).size < groupBy.length) throw invalid('group_by', 'names something twice.');
  const toMs = to === undefined ? nowMs : readTime('to', to);
  const fromMs = from === undefined ? toMs - dayMs : readTime('from', from);
  if (fromMs >= toMs) throw invalid('from', "must be before 'to'.");
  const lines = limit === undefined ? pageLines : Number(limit);
  if (lines > LEDGER_PAGE_LINES_MAX) throw invalid('limit', `must be at most ${LEDGER_PAGE_LINES_MAX}.`);
  const last = after === undefined ? null : readAfter(after, groupBy.length + 1);
  return { fromMs, toMs, key, groupBy, limit: lines, after: last };
}

function sumsBody(line: ReportLine): CostSums {
  const { prefillJoules, decodeJoules, idleJoules, energyCost, hardwareCost, currency } = line;
  const money = { energy: energyCost, hardware: hardwareCost, total: energyCost + hardwareCost };
  return {
    joules: prefillJoules + decodeJoules + idleJoules,
    prefill_joules: prefillJoules,
    decode_joules: decodeJoules,
    idle_joules: idleJoules,
    tdp_joules: line.tdpJoules,
    machine_seconds: line.machineSeconds,
    cost: currency === '' ? null : { currency, ...money, carbon_grams: line.carbonGrams },
  };
}

function lineBody(line: ReportLine, groupBy: readonly Group[]): CostLine {
  const names = Object.fromEntries(groupBy.map((group, i) => [group, line.group[i] || null]));
  return {
    ...names,
    requests: line.requests,
    prompt_tokens: line.promptTokens,
    cached_tokens: line.cachedTokens,
    completion_tokens: line.completionTokens,
    ...sumsBody(line),
  };
}

function reportBody({ lines, hasMore, idle, own, prices }: Report, query: ReportQuery): CostReport {
  const { fromMs, toMs, groupBy, key } = query;
  const last = lines.at(-1);
  const next = hasMore && last !== undefined ? [...last.group, last.currency] : null;
  return {
    object: 'cost_report',
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    group_by: [...groupBy],
    data: lines.map((line) => lineBody(line, groupBy)),
    ...(key === null ? { idle: idle.map(sumsBody), own: own.map(sumsBody) } : {}),
    prices: prices.map((content): unknown => JSON.parse(content)),
    has_more: hasMore,
    next: next === null ? null : Buffer.from(JSON.stringify(next)).toString('base64url'),
  };
}

/**
 * GET /v1/cost: what requests have cost, from the ledger.
 * @param keyOf whose costs the asker may see: the name of a key, empty for requests without one, or null for all
 */
export function registerCost(
  app: FastifyInstance,
  costs: CostReports | null,
  keyOf: (request: FastifyRequest) => string | null,
): void {
  app.get<{ Querystring: CostQuery }>(
    '/v1/cost',
    { schema: { querystring: CostQuery } },
    async (request): Promise<CostReport> => {
      if (costs === null) throw new NibbleError('ledger_off', {});
      const query = readQuery(request.query, keyOf(request), Date.now());
      const end = request.apiKey?.allowance.begin();
      try {
        return reportBody(await costs.report(query), query);
      } finally {
        end?.();
      }
    },
  );
}
