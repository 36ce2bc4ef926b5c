import { randomBytes } from 'node:crypto';
import { text as readAll } from 'node:stream/consumers';
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig, type SettingKey } from '../config.js';
import { greedy } from '../engine/greedy.js';
import type { OpenedModel, OpenModel } from '../engine/open-types.js';
import type { GenerationRequest } from '../engine/types.js';
import { NibbleError } from '../errors.js';
import { BODY_BYTES_MAX } from '../limits.js';
import { openOptions } from './open-options.js';
import { writeStdout } from './output.js';
import { printable } from './printable.js';
import { addSettingOptions } from './settings.js';

const settings: readonly SettingKey[] = [
  'model',
  'threads',
  'activations',
  'kv',
  'contextTokens',
  'kvTokens',
  'offline',
  'home',
];

type GenerateFlags = { readonly maxTokens: number; readonly temperature: number; readonly seed?: bigint };

const expect = (isRight: boolean, message: string): void => {
  if (!isRight) throw new InvalidArgumentError(message);
};

function parseMaxTokens(text: string): number {
  expect(/^\d{1,9}$/.test(text), 'must be an integer, 0 or more.');
  return Number(text);
}

function parseTemperature(text: string): number {
  expect(/^\d+(\.\d+)?$/.test(text) && Number(text) <= 2, 'must be a number from 0 to 2.');
  return Number(text);
}

function parseSeed(text: string): bigint {
  expect(/^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n, 'must be an integer from 0 to 2^64 - 1.');
  return BigInt(text);
}

function generationRequest(promptIds: Int32Array, flags: GenerateFlags): GenerationRequest {
  return {
    promptIds,
    maxTokens: flags.maxTokens,
    sampling: { ...greedy, temperature: flags.temperature, seed: flags.seed ?? randomBytes(8).readBigUInt64LE() },
    stop: [],
    logprobs: null,
    scorePrompt: false,
    ignoreEos: false,
  };
}

/** `-` stands for standard input, bounded like a request. */
async function readPrompt(argument: string): Promise<string> {
  const text = argument === '-' ? await readAll(process.stdin) : argument;
  const message = `the prompt must have 1 to ${BODY_BYTES_MAX} bytes`;
  if (text === '' || Buffer.byteLength(text) > BODY_BYTES_MAX) throw new NibbleError('invalid_request', { message });
  return text;
}

async function writeGeneration(opened: OpenedModel, prompt: string, flags: GenerateFlags): Promise<void> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once('SIGINT', stop);
  const promptIds = await opened.encodeLong(prompt, { addSpecialTokens: true, parseSpecial: true });
  const [generation] = opened.engine.submit([generationRequest(promptIds, flags)], controller.signal);
  if (generation === undefined) throw new NibbleError('engine_failed', { message: 'nothing was queued' });
  const shown = process.stdout.isTTY ? printable : (written: string) => written;
  for await (const event of generation) if (event.kind === 'text') await writeStdout(shown(event.text));
  await writeStdout('\n');
  process.off('SIGINT', stop);
  if (controller.signal.aborted) process.exitCode = 130;
}

/** Continues `argument` and writes the text to stdout as it comes; closes the model in any case. */
async function generate(
  argument: string,
  flags: Readonly<Record<string, unknown>> & GenerateFlags,
  openModel: OpenModel,
): Promise<void> {
  const prompt = await readPrompt(argument);
  const opened = await openModel({ ...openOptions(loadConfig(flags, process.env)), maxSequences: 1, maxWaiting: 1 });
  try {
    await writeGeneration(opened, prompt, flags);
  } finally {
    await opened.close();
  }
}

/** Adds `nibble generate`. */
export function registerGenerate(program: Command): void {
  const command = program
    .command('generate')
    .description('Continue a prompt and write the text to stdout.')
    .argument('<prompt>', 'text to continue; "-" reads it from standard input')
    .option('--max-tokens <count>', 'longest continuation, in tokens', parseMaxTokens, 128)
    .option('--temperature <value>', '0 always takes the likeliest token; up to 2', parseTemperature, 0)
    .option('--seed <integer>', 'makes sampling repeatable (default: random)', parseSeed);
  addSettingOptions(command, settings).action((argument: string, flags: GenerateFlags) =>
    generate(argument, flags, async (options) => (await import('../engine/open.js')).openModel(options)),
  );
}
