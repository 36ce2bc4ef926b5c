/** All commands and their options. */
import { Command } from 'commander';
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
import { registerPull } from './pull.js';
import { registerQuantize } from './quantize.js';
import { registerServe } from './serve.js';
import { registerSimulate } from './simulate/index.js';
import { registerTco } from './tco/index.js';
import { registerTop } from './top/index.js';
import { registerTune } from './tune.js';

/** By what they are for, as the help shows them. */
const commands = {
  'Serve:': [registerServe, registerTop, registerDoctor, registerCost],
  'Models:': [registerPull, registerQuantize, registerInspect, registerCalibrate, registerTune],
  'Try and measure:': [registerGenerate, registerEval, registerBench],
  'Plan:': [registerPoc, registerTco, registerSimulate, registerExplore],
};

export function createProgram(): Command {
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
  for (const [heading, registrations] of Object.entries(commands)) {
    program.commandsGroup(heading);
    for (const register of registrations) register(program);
  }
  return program;
}
