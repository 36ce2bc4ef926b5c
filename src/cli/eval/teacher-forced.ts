/**
 * `nibble eval teacher-forced`: given continuations are forced on the model; at each of their positions its most likely
 * token is compared with that of the f32 path. One differing token does not change what follows, as it would in free
 * generation.
 */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { loadAddon } from '../../native/load.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { type ForcedSequence, readForcedSequences } from './data.js';
import { argmax, logSumExp } from './divergence.js';
import { alignedRows, type ScoredModel } from './scorer.js';
import { openForEval } from './session.js';

type ForcedFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly json?: boolean;
};

/** A position where the two paths prefer different tokens, with what the f32 path thinks of both. */
export type Difference = {
  /** Index of the sequence, and of the token within its continuation. */
  readonly sequence: number;
  readonly position: number;
  readonly referenceToken: number;
  readonly candidateToken: number;
  readonly referenceLogprob: number;
  readonly candidateLogprob: number;
};

export type ForcedAgreement = {
  readonly positions: number;
  readonly same: number;
  readonly differences: readonly Difference[];
};

function join({ prompt, continuation }: ForcedSequence): Int32Array {
  const tokens = new Int32Array(prompt.length + continuation.length);
  tokens.set(prompt);
  tokens.set(continuation, prompt.length);
  return tokens;
}

async function compareForced(
  reference: ScoredModel,
  candidate: ScoredModel,
  sequences: readonly ForcedSequence[],
  onSequence: (done: number) => void = () => {},
): Promise<ForcedAgreement> {
  const vocab = candidate.modelFile.architecture.vocab;
  const models = [reference.nativeModel, candidate.nativeModel];
  const differences: Difference[] = [];
  let positions = 0;
  for (const [index, sequence] of sequences.entries()) {
    const tokens = join(sequence);
    // The row before a token predicts it: the last prompt token's row is the first that counts.
    const first = sequence.prompt.length - 1;
    for await (const { row, logits } of alignedRows(models, vocab, tokens, first)) {
      const [p = new Float32Array(vocab), q = p] = logits;
      positions += 1;
      const referenceToken = argmax(p);
      const candidateToken = argmax(q);
      if (referenceToken === candidateToken) continue;
      const norm = logSumExp(p);
      differences.push({
        sequence: index,
        position: row - first,
        referenceToken,
        candidateToken,
        referenceLogprob: significant((p[referenceToken] ?? Number.NaN) - norm, 6),
        candidateLogprob: significant((p[candidateToken] ?? Number.NaN) - norm, 6),
      });
    }
    onSequence(index + 1);
  }
  return { positions, same: positions - differences.length, differences };
}

async function teacherForced(flags: ForcedFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const { resolveModel } = await import('../../model/sources/resolve.js');
  const { readModelFile } = await import('../../model/gguf.js');
  const path = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const { vocab, contextLength } = (await readModelFile(path)).architecture;
  const sequences = await readForcedSequences(flags.data, { vocab, tokensMax: contextLength });
  const longest = sequences.reduce((most, { prompt, continuation }) => {
    return Math.max(most, prompt.length + continuation.length);
  }, 0);
  const candidate = await openForEval(config, longest, { model: path });
  const progress = createProgress();
  let reference: OpenedModel | undefined;
  try {
    reference = await openForEval(config, longest, { model: path, activations: 'f32' });
    progress.start('teacher-forced', sequences.length);
    const found = await compareForced(reference, candidate, sequences, (done) => progress.update(done));
    progress.stop();
    const share = found.same / found.positions;
    if (flags.json === true) {
      const { level, threads } = candidate.nativeModel.info;
      const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
      const result = { sameTop: significant(share, 6), sequences: sequences.length, ...found };
      return await printJsonResult({ machine, model: candidate.modelFile.id }, result);
    }
    const lines = found.differences.map(
      (d) =>
        `sequence ${d.sequence}, position ${d.position}: ${d.referenceToken} (${d.referenceLogprob}) ` +
        `against ${d.candidateToken} (${d.candidateLogprob})\n`,
    );
    const head = `same most likely token at ${found.same} of ${found.positions} positions`;
    await writeStdout(`${lines.join('')}${head} (${(100 * share).toFixed(2)} %)\n`);
  } finally {
    progress.stop();
    await reference?.close();
    await candidate.close();
  }
}

export function registerTeacherForced(parent: Command): void {
  const command = parent
    .command('teacher-forced')
    .description('Compare the most likely tokens with those of f32 activations along given continuations.')
    .requiredOption('--data <file>', 'lines of {"prompt": [ids], "continuation": [ids]}')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(teacherForced);
}
