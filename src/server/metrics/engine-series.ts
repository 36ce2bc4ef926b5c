/** What engines say of themselves: a row for each model that is loaded. */
import type { Registry } from 'prom-client';
import type { Engine, EngineGauges } from '../../engine/types.js';
import { KV_BLOCK_TOKENS } from '../../limits.js';
import type { IsaLevel } from '../../native/contract.js';
import { addCounter, addGauge, type Row } from './scraped.js';

/** What is known once a model is loaded. */
export type MetricsModel = {
  readonly id: string;
  readonly engine: Engine;
  readonly level: IsaLevel;
  readonly threads: number;
};

/** In the order of `EngineGauges.stepCostMs`. */
const stepCostNames = ['step', 'token', 'row', 'prefill_position', 'decode_position'];

/** Before the first model there is one without a name, so that every name is there to be scraped. */
const noGauges: EngineGauges = {
  running: 0,
  waiting: 0,
  kvBlocksTotal: 0,
  kvBlocksUsed: 0,
  kvBlocksCached: 0,
  queueSeconds: 0,
  stepCostMs: [],
  preemptions: 0,
  speculation: { drafts: 0, draftTokens: 0, acceptedTokens: 0 },
};

type Read = (gauges: EngineGauges) => number;

const usage: Read = ({ kvBlocksUsed, kvBlocksTotal }) => (kvBlocksTotal === 0 ? 0 : kvBlocksUsed / kvBlocksTotal);

const gauges: Readonly<Record<string, readonly [help: string, read: Read]>> = {
  'vllm:num_requests_running': ['Sequences being generated.', ({ running }) => running],
  nibble_sequences_running: ['Sequences being generated.', ({ running }) => running],
  'vllm:num_requests_waiting': ['Sequences waiting for their turn.', ({ waiting }) => waiting],
  nibble_sequences_waiting: ['Sequences waiting for their turn.', ({ waiting }) => waiting],
  'vllm:kv_cache_usage_perc': ['Share of the KV cache in use, 0 to 1.', usage],
  nibble_kv_cache_usage_ratio: ['Share of the KV cache in use, 0 to 1.', usage],
  nibble_queue_seconds: ['How long a request that arrives now will wait.', ({ queueSeconds }) => queueSeconds],
  nibble_kv_blocks_used: ['KV blocks in use.', ({ kvBlocksUsed }) => kvBlocksUsed],
  nibble_kv_blocks_cached: ['KV blocks kept for the prefix cache only.', ({ kvBlocksCached }) => kvBlocksCached],
  nibble_kv_blocks_capacity: ['KV blocks in the pool.', ({ kvBlocksTotal }) => kvBlocksTotal],
};

const counters: Readonly<Record<string, readonly [help: string, read: Read]>> = {
  'vllm:num_preemptions_total': [
    'Times that a sequence gave its KV blocks back and started again.',
    ({ preemptions }) => preemptions,
  ],
  'vllm:spec_decode_num_drafts_total': ['Times that tokens to come were guessed.', (of) => of.speculation.drafts],
  'vllm:spec_decode_num_draft_tokens_total': ['Tokens guessed and computed ahead.', (of) => of.speculation.draftTokens],
  'vllm:spec_decode_num_accepted_tokens_total': ['Tokens guessed right.', (of) => of.speculation.acceptedTokens],
};

const nameless = { id: '', engine: { gauges: () => noGauges } } as const;

export function addEngineSeries(registry: Registry, loaded: () => readonly MetricsModel[]): void {
  /** Rows of each model; without any, those of one that has no name. */
  const eachModel = (rowsOf: (model_name: string, gauges: EngineGauges) => readonly Row[]) => (): readonly Row[] => {
    const models = loaded();
    return (models.length === 0 ? [nameless] : models).flatMap(({ id, engine }) => rowsOf(id, engine.gauges()));
  };
  const labels = ['model_name'];
  const one = (read: Read) => eachModel((model_name, of) => [{ labels: { model_name }, value: read(of) }]);
  for (const [name, [help, read]] of Object.entries(gauges))
    addGauge(registry, { name, help, labels, read: one(read) });
  for (const [name, [help, read]] of Object.entries(counters)) {
    addCounter(registry, { name, help, labels, read: one(read) });
  }
  addGauge(registry, {
    name: 'nibble_step_cost_ms',
    help: 'What steps cost as learned so far, ms: by step, token, row of logits, position of prompts and of decodes.',
    labels: [...labels, 'per'],
    read: eachModel((model_name, { stepCostMs }) =>
      stepCostMs.map((value, i) => ({ labels: { model_name, per: stepCostNames[i] ?? '' }, value })),
    ),
  });
  addGauge(registry, {
    name: 'vllm:cache_config_info',
    help: 'Layout of the KV cache.',
    labels: [...labels, 'block_size', 'num_gpu_blocks'],
    read: eachModel((model_name, { kvBlocksTotal }) => {
      const layout = { block_size: String(KV_BLOCK_TOKENS), num_gpu_blocks: String(kvBlocksTotal) };
      return [{ labels: { model_name, ...layout }, value: 1 }];
    }),
  });
}
