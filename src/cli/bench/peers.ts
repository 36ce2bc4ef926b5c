/** `nibble bench peers`: the same file, prompts and threads through other engines, in alternation with ours. */
import { basename, extname, resolve } from 'node:path';
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { KV_BLOCK_TOKENS, SEQUENCES_MAX } from '../../limits.js';
import { loadAddon } from '../../native/load.js';
import { openOptions } from '../open-options.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn, integersIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { PeerConnection, type PeerProgram } from './peer-connection.js';
import { peerNames, peerProgram } from './peer-install.js';
import { type PeerLoad, runRounds, summarize } from './peer-rounds.js';
import { createProgress, type Progress } from './progress.js';
import type { Spread } from './statistics.js';
import { formatTable } from './table.js';

type PeersFlags = Readonly<Record<string, unknown>> & {
  readonly peer: readonly string[];
  readonly peerModel?: string;
  readonly sequences: readonly number[];
  readonly prompt: number;
  readonly generate: number;
  readonly rounds: number;
  readonly json?: boolean;
};

type Run = {
  readonly peer: string;
  readonly settings: string;
  readonly sequences: number;
  readonly promptTokens: number;
  readonly generatedTokens: number;
} & ReturnType<typeof summarize>;

const blockTokens = ({ prompt, generate }: PeerLoad): number =>
  Math.ceil((prompt + generate) / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;

/** One load on ours and all peers that can run it. Each peer is a fresh process that is set up for this load. */
async function compare(
  opened: OpenedModel,
  programs: readonly PeerProgram[],
  modelPath: string,
  load: PeerLoad,
  rounds: number,
  progress: Progress,
): Promise<Run[]> {
  const able = programs.filter(({ batches }) => batches || load.sequences === 1);
  const peers = able.map((program) => new PeerConnection(program));
  try {
    const { threads } = opened.nativeModel.info;
    const { sequences, prompt: promptTokens, generate: generatedTokens } = load;
    const request = { kind: 'load', modelPath, threads, sequences, tokensMax: blockTokens(load) } as const;
    const settings: string[] = [];
    for (const peer of peers) settings.push((await peer.ask(request, 'loaded')).settings);
    const results = await runRounds(opened, peers, load, rounds, progress);
    return able.map(({ name }, i) => ({
      peer: name,
      settings: settings[i] ?? '',
      sequences,
      promptTokens,
      generatedTokens,
      ...summarize(results, i),
    }));
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()));
  }
}

async function peers(flags: PeersFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const programs: PeerProgram[] = [];
  for (const peer of flags.peer) programs.push(await peerProgram(peer, config));
  const { prompt, generate, rounds } = flags;
  const loads = flags.sequences.map((sequences) => ({ sequences, prompt, generate }));
  const contextTokens = blockTokens({ sequences: 1, prompt, generate });
  const maxSequences = Math.max(...flags.sequences);
  const { openModel } = await import('../../engine/open.js');
  const opened = await openModel({
    ...openOptions(config),
    contextTokens,
    kvTokens: contextTokens * maxSequences,
    maxSequences,
  });
  const progress = createProgress();
  try {
    const modelPath = flags.peerModel ?? opened.modelFile.path;
    const runs: Run[] = [];
    for (const load of loads) runs.push(...(await compare(opened, programs, modelPath, load, rounds, progress)));
    progress.stop();
    await report(flags, opened, modelPath, runs);
  } finally {
    progress.stop();
    await opened.close();
  }
}

async function report(flags: PeersFlags, opened: OpenedModel, modelPath: string, runs: readonly Run[]): Promise<void> {
  const { level, threads } = opened.nativeModel.info;
  const { id } = opened.modelFile;
  const peerModel = basename(modelPath, extname(modelPath));
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
    return printJsonResult({ machine, model: id }, { peerModel, rounds: flags.rounds, runs });
  }
  const range = ({ median, min, max }: Spread) => `${median} (${min}–${max})`;
  const rows = runs.map(({ peer, sequences, ours, theirs, ratio }) => [
    peer,
    sequences,
    ...[ours.prefillTokensPerS.median, theirs.prefillTokensPerS.median, range(ratio.prefill)],
    ...[ours.decodeTokensPerS.median, theirs.decodeTokensPerS.median, range(ratio.decode)],
  ]);
  const heads = ['peer', 'sequences', 'prefill tokens/s', 'theirs', 'ratio', 'decode tokens/s', 'theirs', 'ratio'];
  const settings = new Map(runs.map((run) => [`${run.peer}, ${peerModel}`, run.settings]));
  const notes = [...settings].map(([peer, text]) => `${peer}: ${text}\n`).join('');
  await writeStdout(`${formatTable(heads, rows)}ours: ${id}, ${level}, threads ${threads}\n${notes}`);
}

export function registerPeers(bench: Command): void {
  const command = bench
    .command('peers')
    .description('Compare prefill and decode with other engines; those known by name are fetched into the cache.')
    .option(
      '--peer <names>',
      `peers: ${peerNames.join(', ')}, or a program that speaks the protocol of docs/json.md`,
      (text): readonly string[] => text.split(',').map((name) => name.trim()),
      peerNames as readonly string[],
    )
    .option('--peer-model <file>', 'the file for the peers: the same weights in their best format', (path) =>
      resolve(path),
    )
    .option('--sequences <counts>', 'sequences at once, such as 1,4,16', integersIn(1, SEQUENCES_MAX), [1])
    .option('-p, --prompt <tokens>', 'prompt tokens of each sequence', integerIn(1, 1_000_000), 512)
    .option('-n, --generate <tokens>', 'tokens to generate', integerIn(1, 1_000_000), 128)
    .option('--rounds <count>', 'rounds of all engines', integerIn(5, 1000), 7)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(peers);
}
