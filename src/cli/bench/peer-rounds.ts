/** Alternating runs of Nibble and its peers on the same tokens, and what they come to. */
import type { OpenedModel } from '../../engine/open-types.js';
import { STEP_TOKENS_MAX } from '../../limits.js';
import { nativeCall } from './native-call.js';
import type { PeerConnection } from './peer-connection.js';
import type { Progress } from './progress.js';
import { randomTokens } from './random-tokens.js';
import { rounded, spread } from './statistics.js';
import { Stepper } from './stepper.js';

/** So many sequences with prompts of so many tokens, one after the other; then so many tokens of all together. */
export type PeerLoad = { readonly sequences: number; readonly prompt: number; readonly generate: number };

/** Tokens per second of one run. */
export type Speed = { readonly prefill: number; readonly decode: number };
/** `theirs` in the order of the peers. */
export type Round = { readonly ours: Speed; readonly theirs: readonly Speed[] };

const speed = ({ sequences, prompt, generate }: PeerLoad, prefillSeconds: number, decodeSeconds: number): Speed => ({
  prefill: (sequences * prompt) / prefillSeconds,
  decode: (sequences * generate) / decodeSeconds,
});

async function runOurs(opened: OpenedModel, prompts: readonly Int32Array[], load: PeerLoad): Promise<Speed> {
  const stepper = new Stepper(opened.nativeModel);
  const sequences = prompts.map(() => stepper.open(load.prompt + load.generate));
  try {
    const start = performance.now();
    const first: number[] = [];
    for (const [i, sequence] of sequences.entries()) {
      first.push(await stepper.prefill(sequence, prompts[i] ?? new Int32Array(0), STEP_TOKENS_MAX, true));
    }
    const middle = performance.now();
    await stepper.decode(sequences, first, load.generate);
    return speed(load, (middle - start) / 1e3, (performance.now() - middle) / 1e3);
  } finally {
    stepper.closeAll(sequences);
  }
}

async function runTheirs(peer: PeerConnection, prompts: readonly Int32Array[], load: PeerLoad): Promise<Speed> {
  const request = { kind: 'run', prompts: prompts.map((prompt) => [...prompt]), generate: load.generate } as const;
  const { prefillSeconds, decodeSeconds } = await peer.ask(request, 'ran');
  return speed(load, prefillSeconds, decodeSeconds);
}

/** Alternates, and reverses who goes first: what changes on the machine meanwhile meets all. */
export async function runRounds(
  opened: OpenedModel,
  peers: readonly PeerConnection[],
  load: PeerLoad,
  count: number,
  progress: Progress,
): Promise<Round[]> {
  const rounds: Round[] = [];
  progress.start(`${load.sequences} sequences`, count + 1);
  for (let round = 0; round <= count; ++round) {
    const prompts = Array.from({ length: load.sequences }, (_, i) =>
      randomTokens(load.prompt, opened.tokenizer.vocabSize, round * load.sequences + i + 1),
    );
    const ours = () => nativeCall(() => runOurs(opened, prompts, load));
    const runs = [ours, ...peers.map((peer) => () => runTheirs(peer, prompts, load))];
    const speeds = await inOrder(runs, round % 2 === 1);
    const [first, ...theirs] = speeds;
    if (round > 0 && first !== undefined) rounds.push({ ours: first, theirs }); // the first round warms up
    progress.update(round + 1);
  }
  return rounds;
}

/** Runs one after the other, from the last to the first if `isReversed`; results in the order of `runs`. */
async function inOrder<T>(runs: readonly (() => Promise<T>)[], isReversed: boolean): Promise<T[]> {
  const results: T[] = [];
  for (const run of isReversed ? runs.toReversed() : runs) results.push(await run());
  return isReversed ? results.toReversed() : results;
}

/** Medians with the extremes against one peer; a ratio is taken within each round, so that drift cancels. */
export function summarize(rounds: readonly Round[], peer: number) {
  const none: Speed = { prefill: Number.NaN, decode: Number.NaN };
  const of = (value: (ours: Speed, theirs: Speed) => number) =>
    rounded(spread(rounds.map((round) => value(round.ours, round.theirs[peer] ?? none))));
  return {
    ours: { prefillTokensPerS: of((ours) => ours.prefill), decodeTokensPerS: of((ours) => ours.decode) },
    theirs: {
      prefillTokensPerS: of((_, theirs) => theirs.prefill),
      decodeTokensPerS: of((_, theirs) => theirs.decode),
    },
    ratio: {
      prefill: of((ours, theirs) => ours.prefill / theirs.prefill),
      decode: of((ours, theirs) => ours.decode / theirs.decode),
    },
  };
}
