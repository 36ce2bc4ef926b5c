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
