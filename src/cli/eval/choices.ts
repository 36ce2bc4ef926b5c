/** `nibble eval choices`: how many multiple-choice tasks a model gets right. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import { NibbleError } from '../../errors.js';
import type { NativeModel } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { type ChoiceTokens, encodeChoice, readChoiceTasks } from './choices-data.js';
import { openForEval, scoreSequence } from './session.js';

type ChoicesFlags = Readonly<Record<string, unknown>> & { readonly data: string; readonly json?: boolean };

/** A choice ready to be scored; `bytes` of its text as UTF-8. */
export type EncodedChoice = ChoiceTokens & { readonly bytes: number };
export type EncodedTask = { readonly choices: readonly EncodedChoice[]; readonly answer: number };

/** Share of tasks that were got right, with its standard error. */
export type Accuracy = { readonly share: number; readonly error: number };
export type ChoiceResult = {
  readonly tasks: number;
  /** By the sum of log-probabilities of each choice, and by that sum per byte of its text. */
  readonly accuracy: Accuracy;
  readonly normalized: Accuracy;
  /** What guessing would get. */
  readonly chance: number;
};

/** ln p(choice | context). */
async function scoreChoice(model: NativeModel, { tokens, firstScored }: ChoiceTokens): Promise<number> {
  let sum = 0;
  for await (const { rows, result } of scoreSequence(model, tokens, firstScored - 1, { wantLogprobs: true })) {
    for (let row = 0; row < rows; ++row) sum += result.logprobs[row] ?? Number.NaN;
  }
  return sum;
}

/** Index of the largest; the first of equals. */
const best = (scores: readonly number[]): number => scores.indexOf(Math.max(...scores));

function accuracyOf(right: number, tasks: number): Accuracy {
  const share = right / tasks;
  return { share, error: tasks > 1 ? Math.sqrt((share * (1 - share)) / (tasks - 1)) : 0 };
}

export async function measureChoices(
  model: NativeModel,
  tasks: readonly EncodedTask[],
  onTask: (done: number) => void = () => {},
): Promise<ChoiceResult> {
  let right = 0;
  let rightNormalized = 0;
  let chance = 0;
  for (const [index, { choices, answer }] of tasks.entries()) {
    const scores: number[] = [];
    for (const choice of choices) scores.push(await scoreChoice(model, choice));
    if (best(scores) === answer) right += 1;
    if (best(scores.map((score, i) => score / (choices[i]?.bytes ?? 1))) === answer) rightNormalized += 1;
    chance += 1 / choices.length;
    onTask(index + 1);
  }
  const count = tasks.length;
  const normalized = accuracyOf(rightNormalized, count);
  return { tasks: count, accuracy: accuracyOf(right, count), normalized, chance: chance / count };
}

/** The tasks as tokens, and the longest of them. The tokenizer is the model's, so its file is read here first. */
async function encodeTasks(flags: ChoicesFlags, modelPath: string) {
  const { readModelFile } = await import('../../model/gguf.js');
  const { createTokenizer } = await import('../../model/tokenizer/index.js');
  const { tokenizer: metadata, architecture } = await readModelFile(modelPath);
  const tokenizer = createTokenizer(metadata);
  let longest = 2;
  const tasks = (await readChoiceTasks(flags.data)).map(({ context, choices, answer }): EncodedTask => {
    const encoded = choices.map((choice) => ({
      ...encodeChoice(tokenizer, context, choice),
      bytes: Buffer.byteLength(choice),
    }));
    for (const { tokens } of encoded) longest = Math.max(longest, tokens.length);
    return { choices: encoded, answer };
  });
  const limitTokens = architecture.contextLength;
  if (longest > limitTokens) throw new NibbleError('context_length_exceeded', { promptTokens: longest, limitTokens });
  return { tasks, longest };
}

async function choices(flags: ChoicesFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const { resolveModel } = await import('../../model/sources/resolve.js');
  const model = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const { tasks, longest } = await encodeTasks(flags, model);
  const opened = await openForEval(config, longest, { model });
  const progress = createProgress();
  try {
    progress.start('choices', tasks.length);
    const found = await measureChoices(opened.nativeModel, tasks, (done) => progress.update(done));
    progress.stop();
    const { accuracy, normalized, chance } = found;
    if (flags.json === true) {
      const { level, threads } = opened.nativeModel.info;
      return await printJsonResult(
        { machine: machineOf(loadAddon().cpuInfo(), { isa: level, threads }), model: opened.modelFile.id },
        {
          ...{ tasks: found.tasks, chance: significant(chance) },
          ...{ accuracy: significant(accuracy.share), accuracyError: significant(accuracy.error) },
          ...{ normalized: significant(normalized.share), normalizedError: significant(normalized.error) },
        },
      );
    }
    const show = ({ share, error }: Accuracy) => `${(100 * share).toFixed(1)} ± ${(100 * error).toFixed(1)} %`;
    await writeStdout(
      `accuracy ${show(accuracy)}, per byte ${show(normalized)} ` +
        `(${found.tasks} tasks; guessing gets ${(100 * chance).toFixed(1)} %)\n`,
    );
  } finally {
    progress.stop();
    await opened.close();
  }
}

export function registerChoices(parent: Command): void {
  const command = parent
    .command('choices')
    .description('Accuracy of a model on multiple-choice tasks.')
    .requiredOption('--data <file>', 'lines of {"context": text, "choices": [texts], "answer": index}')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(choices);
}
