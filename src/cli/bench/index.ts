import { loadavg } from 'node:os';
import type { Command } from 'commander';
import { registerAccounting } from './accounting.js';
import { registerAll } from './all/index.js';
import { registerConstrained } from './constrained.js';
import { registerEngine } from './engine.js';
import { registerKernels } from './kernels.js';
import { registerMakeModel } from './make-model.js';
import { registerPeers } from './peers.js';
import { registerRoofline } from './roofline.js';
import { registerServeBench } from './serve.js';
import { registerStart } from './start.js';

/** Mean number of runnable threads over the last minute above which somebody else is at work. */
const BUSY_LOAD = 0.5;

/** Spinning engines suffer from neighbours out of proportion: a comparison on a busy machine says little. */
function warnIfBusy(): void {
  const [load = 0] = loadavg();
  if (load > BUSY_LOAD) {
    process.stderr.write(
      `warning: the machine is busy (load ${load.toFixed(1)}); measurements will be low and uneven\n`,
    );
  }
}

/** Adds `nibble bench` and its subcommands; docs/json.md describes what they print with `--json`. */
export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .description('Measure the machine, the kernels, the engine, peers, the server.');
  bench.hook('preAction', warnIfBusy);
  registerRoofline(bench);
  registerKernels(bench);
  registerEngine(bench);
  registerConstrained(bench);
  registerAccounting(bench);
  registerPeers(bench);
  registerServeBench(bench);
  registerStart(bench);
  registerMakeModel(bench);
  registerAll(bench);
}
