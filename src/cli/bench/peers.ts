/** `nibble bench peers`: the same file, prompts and threads through another engine, in alternation with ours. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { KV_BLOCK_TOKENS, STEP_TOKENS_MAX } from '../../limits.js';
import { loadAddon } from '../../native/load.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { openOptions } from '../serve.js';
import { addSettingOptions } from '../settings.js';
import { integerIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { nativeCall } from './native-call.js';
import { installPeer, PEER } from './peer-install.js';
import type { PeerAnswer, PeerRequest } from './peer-messages.js';
import { createProgress } from './progress.js';
import { randomTokens } from './random-tokens.js';
import { type Spread, significant, spread } from './statistics.js';
import { Stepper } from './stepper.js';
import { formatTable } from './table.js';

type PeersFlags = Readonly<Record<string, unknown>> & {
  readonly prompt: number;
  readonly generate: number;
  readonly rounds: number;
  readonly json?: boolean;
};

/** Tokens per second of one round. */
type Speed = { readonly prefill: number; readonly decode: number };
type Round = { readonly ours: Speed; readonly theirs: Speed };

/** The compiled name in dist, the source's under a TypeScript loader. */
const peerProcess = fileURLToPath(
  new URL(`./peer-process${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

async function ask(child: ChildProcess, request: PeerRequest): Promise<PeerAnswer> {
  const controller = new AbortController();
  const answered = once(child, 'message', { signal: controller.signal }) as Promise<[PeerAnswer]>;
  const exited = once(child, 'exit', { signal: controller.signal }).then((): [PeerAnswer] => [
    { kind: 'failed', message: 'its process ended' },
  ]);
  child.send(request);
  try {
    const [answer] = await Promise.race([answered, exited]);
    if (answer.kind === 'failed') throw new NibbleError('peer_failed', { peer: PEER, message: answer.message });
    return answer;
  } finally {
    controller.abort();
    await Promise.allSettled([answered, exited]);
  }
}

async function runTheirs(child: ChildProcess, tokens: Int32Array, generate: number): Promise<Speed> {
  const answer = await ask(child, { kind: 'run', tokens: [...tokens], generate });
  if (answer.kind !== 'ran') throw new NibbleError('peer_failed', { peer: PEER, message: 'gave no times' });
  return { prefill: tokens.length / answer.prefillSeconds, decode: generate / answer.decodeSeconds };
}

async function runOurs(opened: OpenedModel, tokens: Int32Array, generate: number): Promise<Speed> {
  const stepper = new Stepper(opened.nativeModel);
  const sequence = stepper.open(tokens.length + generate);
  try {
    const start = performance.now();
    const first = await stepper.prefill(sequence, tokens, STEP_TOKENS_MAX, true);
    const middle = performance.now();
    await stepper.decode([sequence], [first], generate);
    const end = performance.now();
    return { prefill: (tokens.length * 1e3) / (middle - start), decode: (generate * 1e3) / (end - middle) };
  } finally {
    stepper.closeAll([sequence]);
  }
}

/** Alternates, and swaps who goes first: what changes on the machine meanwhile meets both. */
async function runRounds(opened: OpenedModel, child: ChildProcess, flags: PeersFlags): Promise<Round[]> {
  const progress = createProgress();
  progress.start(`against ${PEER}`, flags.rounds + 1);
  const rounds: Round[] = [];
  try {
    for (let round = 0; round <= flags.rounds; ++round) {
      const tokens = randomTokens(flags.prompt, opened.tokenizer.vocabSize, round + 1);
      const ours = () => nativeCall(() => runOurs(opened, tokens, flags.generate));
      const theirs = () => runTheirs(child, tokens, flags.generate);
      const speeds: Round =
        round % 2 === 0
          ? { ours: await ours(), theirs: await theirs() }
          : await theirs().then(async (peer) => ({ ours: await ours(), theirs: peer }));
      if (round > 0) rounds.push(speeds); // the first one warms up
      progress.update(round + 1);
    }
  } finally {
    progress.stop();
  }
  return rounds;
}

const rounded = ({ median, min, max }: Spread): Spread => ({
  median: significant(median),
  min: significant(min),
  max: significant(max),
});

/** Medians with the extremes; a ratio is taken within each round, so that drift cancels. */
export function summarize(rounds: readonly Round[]) {
  const of = (value: (round: Round) => number) => rounded(spread(rounds.map(value)));
  return {
    ours: {
      prefillTokensPerS: of(({ ours }) => ours.prefill),
      decodeTokensPerS: of(({ ours }) => ours.decode),
    },
    theirs: {
      prefillTokensPerS: of(({ theirs }) => theirs.prefill),
      decodeTokensPerS: of(({ theirs }) => theirs.decode),
    },
    ratio: {
      prefill: of(({ ours, theirs }) => ours.prefill / theirs.prefill),
      decode: of(({ ours, theirs }) => ours.decode / theirs.decode),
    },
  };
}

async function peers(flags: PeersFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const entry = await installPeer(config);
  const tokensMax = Math.ceil((flags.prompt + flags.generate) / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;
  const { openModel } = await import('../../engine/open.js');
  const opened = await openModel({
    ...openOptions(config),
    contextTokens: tokensMax,
    kvTokens: tokensMax,
    maxSequences: 1,
  });
  // Its output belongs to nobody: stdout is for the result alone.
  const child = fork(peerProcess, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  try {
    const { level, threads } = opened.nativeModel.info;
    const { path: modelPath, id } = opened.modelFile;
    // A margin, for the peer rounds its context.
    const contextTokens = tokensMax + 64;
    await ask(child, { kind: 'load', entry: entry.href, modelPath, threads, contextTokens });
    const summary = summarize(await runRounds(opened, child, flags));
    const { rounds, prompt: promptTokens, generate: generatedTokens } = flags;
    if (flags.json === true) {
      const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
      const result = { peer: PEER, promptTokens, generatedTokens, rounds, ...summary };
      return await printJsonResult({ machine, model: id }, result);
    }
    const row = (name: string, prefill: Spread, decode: Spread) => {
      return [name, prefill.median, `${prefill.min}–${prefill.max}`, decode.median, `${decode.min}–${decode.max}`];
    };
    const { ours, theirs, ratio } = summary;
    const rows = [
      row('nibble, tokens/s', ours.prefillTokensPerS, ours.decodeTokensPerS),
      row(`${PEER}, tokens/s`, theirs.prefillTokensPerS, theirs.decodeTokensPerS),
      row('ratio', ratio.prefill, ratio.decode),
    ];
    await writeStdout(formatTable(['', 'prefill', 'range', 'decode', 'range'], rows));
  } finally {
    child.kill();
    await opened.close();
  }
}

export function registerPeers(bench: Command): void {
  const command = bench
    .command('peers')
    .description(`Compare prefill and decode with ${PEER} (llama.cpp), which is fetched into the cache on first use.`)
    .option('-p, --prompt <tokens>', 'prompt tokens', integerIn(1, 1_000_000), 512)
    .option('-n, --generate <tokens>', 'tokens to generate', integerIn(1, 1_000_000), 128)
    .option('--rounds <count>', 'rounds of both engines', integerIn(5, 1000), 7)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(peers);
}
