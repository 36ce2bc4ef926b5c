/** What a simulation decides otherwise than the settings do: a `--policy`, such as `itlTarget=50,maxSequences=16`. */
import { InvalidArgumentError } from 'commander';
import type { Config } from '../../config.js';
import { KV_BLOCK_TOKENS, LOOK_AHEAD_TOKENS_MAX, STEP_ROWS_MAX, STEP_TOKENS_MAX } from '../../limits.js';
import type { SchedulerLimits } from '../../scheduler/types.js';

/** Settings by their own names, and two that a server doesn't offer. */
export type Policy = {
  readonly itlTarget: number;
  readonly maxSequences: number;
  readonly maxWaiting: number;
  readonly maxWaitingTokens: number;
  readonly queueSeconds: number;
  readonly kvTokens: number;
  /** Tokens of a step. */
  readonly stepTokens: number;
  /** A step is put behind another one of at most so many tokens. */
  readonly lookAhead: number;
};

const bounds: Readonly<Record<keyof Policy, readonly [number, number]>> = {
  itlTarget: [1, 1e9],
  maxSequences: [1, STEP_ROWS_MAX],
  maxWaiting: [0, 1e9],
  maxWaitingTokens: [0, 1e12],
  queueSeconds: [1, 1e9],
  kvTokens: [KV_BLOCK_TOKENS, 1e9],
  stepTokens: [1, 1 << 20],
  lookAhead: [0, 1 << 20],
};

/** Full contexts that the pool holds if no size is set: as many as a server takes where memory allows. */
const contextsDefault = 8;

/** What a server with these settings does. */
export function settledPolicy(config: Config, contextTokens: number): Policy {
  const { itlTarget, maxSequences, maxWaiting, maxWaitingTokens, queueSeconds } = config;
  const settings = { itlTarget, maxSequences, maxWaiting, maxWaitingTokens, queueSeconds };
  const kvTokens = config.kvTokens ?? contextsDefault * contextTokens;
  return { ...settings, kvTokens, stepTokens: STEP_TOKENS_MAX, lookAhead: LOOK_AHEAD_TOKENS_MAX };
}

/** A reader of `name=number,…` for commander, which collects one change per use of the option. */
export function readPolicy(text: string, earlier: readonly Partial<Policy>[] = []): readonly Partial<Policy>[] {
  const change: Partial<Record<keyof Policy, number>> = {};
  for (const item of text.split(',')) {
    const [, name = '', digits = ''] = /^([a-zA-Z]+)=(\d{1,12})$/.exec(item.trim()) ?? [];
    if (!isPolicyName(name)) {
      throw new InvalidArgumentError(`must be name=number, … with the names ${Object.keys(bounds).join(', ')}.`);
    }
    const [minimum, maximum] = bounds[name];
    const value = Number(digits);
    if (value < minimum || value > maximum) {
      throw new InvalidArgumentError(`${name} must be from ${minimum} to ${maximum}.`);
    }
    change[name] = value;
  }
  return [...earlier, change];
}

function isPolicyName(name: string): name is keyof Policy {
  return Object.hasOwn(bounds, name);
}

/** The scheduler's own form. A step holds at least every sequence that decodes. */
export function limitsOf(policy: Policy, contextTokens: number): SchedulerLimits {
  return {
    contextTokens,
    blockTokens: KV_BLOCK_TOKENS,
    blockCount: Math.ceil(policy.kvTokens / KV_BLOCK_TOKENS),
    sequencesMax: policy.maxSequences,
    waitingMax: policy.maxWaiting,
    waitingTokensMax: policy.maxWaitingTokens,
    stepTokensMax: Math.max(policy.stepTokens, policy.maxSequences),
    stepRowsMax: STEP_ROWS_MAX,
    itlTargetMs: policy.itlTarget,
    lookAheadTokensMax: policy.lookAhead,
  };
}
