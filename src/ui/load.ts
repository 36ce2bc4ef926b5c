/** What a server is doing, from two scrapes of its metrics. Pure. */
import { growth, quantileBetween, type Snapshot, seriesOf, sumOf } from './metrics-text.js';

export type ModelLoad = {
  readonly name: string;
  readonly running: number;
  readonly waiting: number;
  /** Shares of the KV blocks, 0 to 1: held by sequences, and kept for the prefix cache only. */
  readonly kvUsed: number;
  readonly kvCached: number;
};

export type Load = {
  readonly atMs: number;
  readonly seconds: number;
  readonly promptTokensPerS: number;
  readonly answerTokensPerS: number;
  readonly running: number;
  readonly waiting: number;
  /** How long a request that arrives now will wait, s; the longest of all models. */
  readonly queueSeconds: number;
  readonly kvBlocks: { readonly used: number; readonly cached: number; readonly total: number };
  /** Share of prompt tokens found in the prefix cache; null where no prompt began. */
  readonly hitShare: number | null;
  /** Seconds; null where nothing was counted. */
  readonly firstTokenP50: number | null;
  readonly firstTokenP95: number | null;
  readonly tokenP50: number | null;
  readonly tokenP95: number | null;
  readonly requestsPerS: number;
  /** Answers with a status of 400 or more. */
  readonly errorsPerS: number;
  /** null where nothing measures energy. */
  readonly energy: {
    readonly source: string;
    readonly watts: Readonly<Record<'prefill' | 'decode' | 'idle', number>>;
    /** All energy of the machine over the tokens that it generated; null where it generated none. */
    readonly joulesPerToken: number | null;
  } | null;
  readonly models: readonly ModelLoad[];
};

function modelLoads(snapshot: Snapshot): readonly ModelLoad[] {
  const names = seriesOf(snapshot, 'nibble_kv_blocks_capacity').map(({ labels }) => labels.model_name ?? '');
  return names
    .filter((name) => name !== '')
    .map((name) => {
      const read = (metric: string) => sumOf(snapshot, metric, { model_name: name });
      const total = Math.max(1, read('nibble_kv_blocks_capacity'));
      return {
        name,
        running: read('nibble_sequences_running'),
        waiting: read('nibble_sequences_waiting'),
        kvUsed: read('nibble_kv_blocks_used') / total,
        kvCached: read('nibble_kv_blocks_cached') / total,
      };
    });
}

const energyName = 'nibble_energy_joules_total';

function energyBetween(before: Snapshot, after: Snapshot, seconds: number, tokens: number): Load['energy'] {
  const sources = new Set(seriesOf(after, energyName).map(({ labels }) => labels.source ?? ''));
  if (sources.size === 0) return null;
  // Of several sources the one that counts now.
  const joulesBy = [...sources].map((source) => ({ source, joules: growth(before, after, energyName, { source }) }));
  const { source, joules } = joulesBy.reduce((most, one) => (one.joules > most.joules ? one : most));
  const watts = (phase: string) => growth(before, after, energyName, { source, phase }) / seconds;
  return {
    source,
    watts: { prefill: watts('prefill'), decode: watts('decode'), idle: watts('idle') },
    joulesPerToken: tokens > 0 ? joules / tokens : null,
  };
}

function errorsBetween(before: Snapshot, after: Snapshot): number {
  const name = 'nibble_http_requests_total';
  const statuses = new Set(seriesOf(after, name).map(({ labels }) => labels.status ?? ''));
  return [...statuses]
    .filter((status) => Number(status) >= 400)
    .reduce((sum, status) => sum + growth(before, after, name, { status }), 0);
}

/** Rates between two scrapes, and the state at the second. */
export function loadBetween(before: Snapshot, after: Snapshot): Load {
  const seconds = Math.max(0.001, (after.atMs - before.atMs) / 1000);
  const tokens = (phase: string) => growth(before, after, 'nibble_step_tokens_total', { phase });
  const quantile = (name: string, share: number) => quantileBetween(before, after, name, share);
  const queries = growth(before, after, 'vllm:prefix_cache_queries');
  const waits = seriesOf(after, 'nibble_queue_seconds').map(({ value }) => value);
  return {
    atMs: after.atMs,
    seconds,
    promptTokensPerS: tokens('prefill') / seconds,
    answerTokensPerS: tokens('decode') / seconds,
    running: sumOf(after, 'nibble_sequences_running'),
    waiting: sumOf(after, 'nibble_sequences_waiting'),
    queueSeconds: Math.max(0, ...waits),
    kvBlocks: {
      used: sumOf(after, 'nibble_kv_blocks_used'),
      cached: sumOf(after, 'nibble_kv_blocks_cached'),
      total: sumOf(after, 'nibble_kv_blocks_capacity'),
    },
    hitShare: queries > 0 ? growth(before, after, 'vllm:prefix_cache_hits') / queries : null,
    firstTokenP50: quantile('vllm:time_to_first_token_seconds', 0.5),
    firstTokenP95: quantile('vllm:time_to_first_token_seconds', 0.95),
    tokenP50: quantile('vllm:inter_token_latency_seconds', 0.5),
    tokenP95: quantile('vllm:inter_token_latency_seconds', 0.95),
    requestsPerS: growth(before, after, 'vllm:request_success_total') / seconds,
    errorsPerS: errorsBetween(before, after) / seconds,
    energy: energyBetween(before, after, seconds, tokens('decode')),
    models: modelLoads(after),
  };
}
