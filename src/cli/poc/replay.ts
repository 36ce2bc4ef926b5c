/** Has a model answer prompts through the engine, as the server does: how fast, what it writes, what that takes. */
import { setMaxListeners } from 'node:events';
import type { Config } from '../../config.js';
import { greedy } from '../../engine/greedy.js';
import type { OpenedModel } from '../../engine/open-types.js';
import type { EngineObserver, SequenceSummary } from '../../engine/types.js';
import { warmUp } from '../../engine/warm-up.js';
import { NibbleError } from '../../errors.js';
import { KV_BLOCK_TOKENS } from '../../limits.js';
import { EnergyMonitor } from '../../metering/energy-monitor.js';
import { modelWorkOf } from '../../metering/model-work.js';
import { openMeter } from '../../metering/open-meter.js';
import type { EnergySource } from '../../metering/types.js';
import { packedHeadBytes } from '../../model/packed-bytes.js';
import { readCounter } from '../../native/contract.js';
import type { Contender } from '../eval/compare/candidates.js';
import { recipePruning } from '../eval/scorer.js';
import { openForEval } from '../eval/session.js';
import type { ReadyPrompt } from './prompts.js';

/** What became of one prompt. */
export type Answer = {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly promptTokens: number;
  /** From submission to the first token, and between two tokens on average; null without a second one. */
  readonly firstTokenMs: number;
  readonly betweenMs: number | null;
};

export type Energy = {
  readonly source: EnergySource;
  readonly meter: string;
  readonly prefillJoules: number;
  readonly decodeJoules: number;
};

export type Run = {
  /** One for each prompt, in their order. */
  readonly answers: readonly Answer[];
  readonly seconds: number;
  /** null without a meter. */
  readonly energy: Energy | null;
};

type OnStep = Required<EngineObserver>['onStep'];

function requestOf(
  { modelFile }: OpenedModel,
  prompt: ReadyPrompt,
  onEnd: (summary: SequenceSummary, ids: readonly number[]) => void,
) {
  const { ids: promptIds, tokensMax: maxTokens, stop } = prompt;
  const pruning = recipePruning(modelFile);
  const plain = { sampling: greedy, logprobs: null, scorePrompt: false, ignoreEos: false };
  return { promptIds, maxTokens, stop, ...plain, onEnd, ...(pruning === null ? {} : { pruning }) };
}

async function answer(opened: OpenedModel, prompt: ReadyPrompt, signal: AbortSignal): Promise<Answer> {
  let ended: { readonly summary: SequenceSummary; readonly tokenIds: readonly number[] } | null = null;
  const request = requestOf(opened, prompt, (summary, generated) => {
    ended = { summary, tokenIds: [...generated] };
  });
  let text = '';
  for (const generation of opened.engine.submit([request], signal)) {
    for await (const event of generation) if (event.kind === 'text') text += event.text;
  }
  if (signal.aborted) throw new NibbleError('interrupted', {});
  return describe(text, ended);
}

function describe(
  text: string,
  ended: { readonly summary: SequenceSummary; readonly tokenIds: readonly number[] } | null,
): Answer {
  const first = ended?.summary.firstTokenSeconds ?? null;
  if (ended === null || first === null) throw new NibbleError('engine_failed', { message: 'a prompt got no answer' });
  const { promptTokens, completionTokens, totalSeconds } = ended.summary;
  const betweenMs = completionTokens > 1 ? (1000 * (totalSeconds - first)) / (completionTokens - 1) : null;
  return { text, tokenIds: ended.tokenIds, promptTokens, firstTokenMs: 1000 * first, betweenMs };
}

/** Counts what the machine takes from now on. */
function startMeter(config: Config, { nativeModel, modelFile }: OpenedModel, changes: Contender['changes']) {
  if (config.energyMeter === 'off') return null;
  const { meter } = openMeter({ setting: config.energyMeter, wattsPerCore: config.coreWatts, hearsOfSteps: true });
  const monitor = new EnergyMonitor(meter);
  const headBytes = packedHeadBytes(modelFile.tensors);
  const work = modelWorkOf(nativeModel.info, modelFile.architecture, changes.activations ?? 'a8', headBytes);
  const onStep: OnStep = ({ counters, parts }) => {
    monitor.addStep(readCounter(counters, 'totalNs') * 1e-9, parts, work);
  };
  const finish = (): Energy => {
    const totals = [...monitor.totals().values()];
    const sum = (phase: 'prefill' | 'decode' | 'idle') => totals.reduce((all, total) => all + total[phase], 0);
    const [prefill, decode, idle] = [sum('prefill'), sum('decode'), sum('idle')];
    // There is always something to do: what is between the steps belongs to them.
    const factor = prefill + decode > 0 ? 1 + idle / (prefill + decode) : 1;
    const { source, description: meter } = monitor;
    monitor.close();
    return { source, meter, prefillJoules: prefill * factor, decodeJoules: decode * factor };
  };
  return { onStep, finish };
}

export type ReplayTask = { readonly config: Config; readonly streams: number; readonly signal: AbortSignal };

/** Opens the contender anew, with an empty cache, and has it answer all prompts, `streams` at a time. */
export async function replay(
  { config, streams, signal }: ReplayTask,
  { changes }: Contender,
  prompts: readonly ReadyPrompt[],
  onAnswer: () => void = () => {},
): Promise<Run> {
  const longest = Math.max(...prompts.map(({ ids, tokensMax }) => ids.length + tokensMax));
  const kvTokens = streams * (Math.ceil(longest / KV_BLOCK_TOKENS) + 1) * KV_BLOCK_TOKENS;
  let onStep: OnStep = () => {};
  const observer: EngineObserver = { onStep: (step) => onStep(step) };
  const opened = await openForEval(config, longest, changes, { kvTokens, maxSequences: streams, observer });
  try {
    await warmUp(opened.engine, opened.tokenizer);
    const meter = startMeter(config, opened, changes);
    if (meter !== null) onStep = meter.onStep;
    const answers: Answer[] = [];
    const waiting = prompts.entries();
    setMaxListeners(0, signal);
    const start = performance.now();
    const client = async () => {
      for (const [index, prompt] of waiting) {
        answers[index] = await answer(opened, prompt, signal);
        onAnswer();
      }
    };
    await Promise.all(Array.from({ length: streams }, client));
    return { answers, seconds: (performance.now() - start) / 1000, energy: meter?.finish() ?? null };
  } finally {
    await opened.close();
  }
}
