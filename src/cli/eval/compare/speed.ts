/** How fast the models of a comparison run, each in turn within a round, so that all see the same machine. */
import type { Config } from '../../../config.js';
import type { Meter } from '../../../metering/types.js';
import { runOnce } from '../../bench/engine.js';
import { nativeCall } from '../../bench/native-call.js';
import type { Progress } from '../../bench/progress.js';
import { median, rounded, type Spread, significant, spread } from '../../bench/statistics.js';
import { openForEval } from '../session.js';
import type { Contender } from './candidates.js';

const PREFILLS = [512, 2048] as const;
const DECODED_TOKENS = 32;

export type Speed = {
  /** Tokens per second of a prompt of 512 and of 2048 tokens; null beyond the model's context. */
  readonly prefill512: Spread;
  readonly prefill2048: Spread | null;
  /** Tokens per second of one sequence behind a prompt of 512. */
  readonly decode: Spread;
  /** Of that decode, median; null without a meter. */
  readonly joulesPerToken: number | null;
};

type Round = {
  readonly prefill512: number;
  readonly prefill2048: number | null;
  readonly decode: number;
  readonly joulesPerToken: number | null;
};

/** What all turns have in common. */
export type SpeedTask = {
  readonly config: Config;
  /** The shortest context of the models. */
  readonly contextTokens: number;
  readonly meter: Meter | null;
};

/** One model's turn: loaded (packed weights come from the cache), warmed up, measured, closed. */
async function measureTurn({ config, contextTokens, meter }: SpeedTask, { changes }: Contender): Promise<Round> {
  const [short, long] = PREFILLS;
  const hasLong = contextTokens >= long + DECODED_TOKENS;
  const tokensMax = (hasLong ? long : short) + DECODED_TOKENS;
  const opened = await openForEval(config, tokensMax, changes);
  try {
    const run = (prompt: number, generate: number) =>
      nativeCall(() => runOnce(opened, { batch: 1, context: 0, prompt, generate }, () => meter?.joules() ?? 0));
    await run(64, 8);
    const first = await run(short, DECODED_TOKENS);
    const second = hasLong ? await run(long, 1) : null;
    return {
      prefill512: short / first.prefill,
      prefill2048: second === null ? null : long / second.prefill,
      decode: DECODED_TOKENS / first.decode,
      joulesPerToken: meter === null ? null : first.decodeJoules / DECODED_TOKENS,
    };
  } finally {
    await opened.close();
  }
}

function summarize(rounds: readonly Round[]): Speed {
  const joules = rounds.flatMap(({ joulesPerToken }) => joulesPerToken ?? []);
  const long = rounds.flatMap(({ prefill2048 }) => prefill2048 ?? []);
  return {
    prefill512: rounded(spread(rounds.map(({ prefill512 }) => prefill512))),
    prefill2048: long.length === rounds.length ? rounded(spread(long)) : null,
    decode: rounded(spread(rounds.map(({ decode }) => decode))),
    joulesPerToken: joules.length === rounds.length ? significant(median(joules)) : null,
  };
}

/** `rounds` rounds over all models, every other one backwards. Only one model is in memory at a time. */
export async function measureSpeeds(
  task: SpeedTask,
  models: readonly Contender[],
  rounds: number,
  progress: Progress,
): Promise<Speed[]> {
  const measured: Round[][] = models.map(() => []);
  progress.start('speed', rounds * models.length);
  for (let round = 0, done = 0; round < rounds; ++round) {
    const order = [...models.entries()];
    for (const [index, model] of round % 2 === 0 ? order : order.reverse()) {
      measured[index]?.push(await measureTurn(task, model));
      progress.update(++done, model.name);
    }
  }
  return measured.map(summarize);
}
