/** Replays prompts through all models in turns, and sums up how fast each is and what it takes. */
import type { RecipeFigures } from '../../cost/tco/scenario.js';
import type { Progress } from '../bench/progress.js';
import { quantile } from '../bench/statistics.js';
import type { Contender } from '../eval/compare/candidates.js';
import type { ReadyPrompt } from './prompts.js';
import { type Answer, type Energy, type ReplayTask, type Run, replay } from './replay.js';

/** Prompts that are answered one by one, for latencies: enough for a 95th percentile that means something. */
const ALONE_MAX = 20;

/** Every prompt is answered once; machines change their speed within minutes, so models take turns. */
const ROUNDS = 2;

export type Latency = { readonly p50: number; readonly p95: number };

export type Measured = {
  /** One for each prompt, in their order. */
  readonly answers: readonly Answer[];
  /** Of prompts that were answered one by one. */
  readonly ttftMs: Latency;
  readonly itlMs: Latency;
  /** Of all prompts, several at a time. */
  readonly requestsPerS: number;
  readonly outputTokensPerS: number;
  readonly joulesPerRequest: number | null;
  readonly energy: Energy | null;
  readonly figures: RecipeFigures<number>;
};

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const latency = (ms: readonly number[]): Latency => ({ p50: quantile(ms, 0.5), p95: quantile(ms, 0.95) });

/** Evenly spread over the list. */
export function spreadSample<T>(values: readonly T[], count: number): T[] {
  const taken = Math.min(count, values.length);
  return Array.from({ length: taken }, (_, i) => values[Math.floor((i * values.length) / taken)] as T);
}

function addEnergy(runs: readonly Run[]): Energy | null {
  const found = runs.flatMap(({ energy }) => energy ?? []);
  const last = found.at(-1);
  if (last === undefined || found.length < runs.length) return null;
  return {
    // A sensor that was lost makes all of it an estimate.
    source: found.some(({ source }) => source === 'tdp') ? 'tdp' : last.source,
    meter: last.meter,
    prefillJoules: sum(found.map(({ prefillJoules }) => prefillJoules)),
    decodeJoules: sum(found.map(({ decodeJoules }) => decodeJoules)),
  };
}

/**
 * What a plan needs: rates of the prompts and of the answers. Prompts go at the rate that they had one by one; the
 * answers get the rest of the time.
 */
export function figuresOf(name: string, streams: number, alone: readonly Run[], together: readonly Run[]) {
  const one = alone.flatMap(({ answers }) => answers);
  const all = together.flatMap(({ answers }) => answers);
  const promptTokens = sum(all.map((answer) => answer.promptTokens));
  const outputTokens = sum(all.map(({ tokenIds }) => tokenIds.length));
  const seconds = sum(together.map((run) => run.seconds));
  const prefillTokensPerS =
    (1000 * sum(one.map((answer) => answer.promptTokens))) / sum(one.map((a) => a.firstTokenMs));
  // Steps that hold prompts and answers do both at once: a twentieth is left to the answers at least.
  const decodeS = Math.max(seconds - promptTokens / prefillTokensPerS, 0.05 * seconds);
  const energy = addEnergy(together);
  return {
    name: name.slice(0, 80),
    source: 'measured' as const,
    ...{ streams, prefillTokensPerS, decodeTokensPerS: outputTokens / decodeS },
    joulesPerPromptToken: (energy?.prefillJoules ?? 0) / promptTokens,
    joulesPerOutputToken: (energy?.decodeJoules ?? 0) / outputTokens,
  };
}

function summarize(name: string, streams: number, alone: readonly Run[], together: readonly Run[]): Measured {
  const one = alone.flatMap(({ answers }) => answers);
  const answers = together.flatMap((run) => run.answers);
  const seconds = sum(together.map((run) => run.seconds));
  const energy = addEnergy(together);
  const joules = energy === null ? null : energy.prefillJoules + energy.decodeJoules;
  return {
    answers,
    ttftMs: latency(one.map(({ firstTokenMs }) => firstTokenMs)),
    itlMs: latency(one.flatMap(({ betweenMs }) => betweenMs ?? [])),
    requestsPerS: answers.length / seconds,
    outputTokensPerS: sum(answers.map(({ tokenIds }) => tokenIds.length)) / seconds,
    joulesPerRequest: joules === null ? null : joules / answers.length,
    energy,
    figures: figuresOf(name, streams, alone, together),
  };
}

/** Measures all models, one in memory at a time; in every other round in reversed order. */
export async function measureModels(
  task: ReplayTask,
  models: readonly Contender[],
  prompts: readonly ReadyPrompt[],
  progress: Progress,
): Promise<Measured[]> {
  const rounds = Math.min(ROUNDS, prompts.length);
  const runs = models.map(() => ({ alone: [] as Run[], together: [] as Run[] }));
  const sample = spreadSample(prompts, ALONE_MAX);
  progress.start('replaying prompts', models.length * (prompts.length + sample.length));
  let done = 0;
  for (let round = 0; round < rounds; ++round) {
    const part = <T>(values: readonly T[]) =>
      values.slice(Math.floor((round * values.length) / rounds), Math.floor(((round + 1) * values.length) / rounds));
    const order = [...models.entries()];
    for (const [index, model] of round % 2 === 0 ? order : order.reverse()) {
      const tick = () => progress.update(++done, model.name);
      runs[index]?.alone.push(await replay({ ...task, streams: 1 }, model, part(sample), tick));
      runs[index]?.together.push(await replay(task, model, part(prompts), tick));
    }
  }
  return runs.map(({ alone, together }, i) => summarize(models[i]?.name ?? '', task.streams, alone, together));
}
