import type { Command } from 'commander';
import { registerEngine } from './engine.js';
import { registerKernels } from './kernels.js';
import { registerPeers } from './peers.js';
import { registerRoofline } from './roofline.js';
import { registerServeBench } from './serve.js';

/** Adds `nibble bench` and its subcommands; docs/json.md describes what they print with `--json`. */
export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .description('Measure the machine, the kernels, the engine, peers, the server.');
  registerRoofline(bench);
  registerKernels(bench);
  registerEngine(bench);
  registerPeers(bench);
  registerServeBench(bench);
}
