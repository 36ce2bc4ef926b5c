#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { NibbleError } from '../errors.js';
import { registerBench } from './bench/index.js';
import { registerCalibrate } from './calibrate.js';
import { registerCost } from './cost/index.js';
import { registerDoctor } from './doctor/index.js';
import { registerEval } from './eval/index.js';
import { registerExplore } from './explore/index.js';
import { registerGenerate } from './generate.js';
import { registerInspect } from './inspect/index.js';
import { packageVersion } from './output.js';
import { registerPoc } from './poc/index.js';
import { printable } from './printable.js';
import { registerPull } from './pull.js';
import { registerQuantize } from './quantize.js';
import { registerServe } from './serve.js';
import { registerSimulate } from './simulate/index.js';
import { registerTco } from './tco/index.js';
import { registerTop } from './top/index.js';
import { registerTune } from './tune.js';

function createProgram(): Command {
  const program = new Command('nibble')
    .description('A CPU inference server for 4-bit-and-lower language models.')
    .version(packageVersion())
    .helpCommand(false)
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `nibble: usage: ${text
            .trim()
            .replace(/^error: /, '')
            .replaceAll('\n', ' ')}\n`,
        ),
    });
  registerServe(program);
  registerGenerate(program);
  registerPull(program);
  registerBench(program);
  registerEval(program);
  registerQuantize(program);
  registerExplore(program);
  registerInspect(program);
  registerDoctor(program);
  registerTop(program);
  registerCalibrate(program);
  registerSimulate(program);
  registerTco(program);
  registerPoc(program);
  registerCost(program);
  registerTune(program);
  return program;
}

/** Says on stderr what went wrong, as `nibble: code: message`; returns the exit code: 2 for usage, else 1. */
function reportError(error: unknown): number {
  // Commander has already written its message; showing help or the version isn't an error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof NibbleError) {
    process.stderr.write(`nibble: ${error.code}: ${printable(error.message)}\n`);
    return error.code === 'config_invalid' ? 2 : 1;
  }
  process.stderr.write(
    `nibble: internal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 1;
}

// A reader that goes away (`nibble generate … | head`) is no error: there is just nobody left to write for.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

try {
  await createProgram().parseAsync();
} catch (error) {
  // A server that failed to load may still listen; nothing that could keep the process alive is wanted now.
  process.exit(reportError(error));
}
