/** `nibble doctor`: what this machine is for Nibble, and what to change for how much. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { openHwmon } from '../../metering/hwmon.js';
import { openRapl } from '../../metering/rapl.js';
import { isUnavailable } from '../../metering/types.js';
import type { RooflineRun } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { measureRoofline } from '../bench/roofline.js';
import { writeStdout } from '../output.js';
import { readFacts } from './facts.js';
import { type EnergyFound, findingsOf, formatFindings } from './findings.js';

/** How energy would be measured on the machine whose files lie below `root`. */
export function findEnergy(root: string): EnergyFound {
  const reasons: string[] = [];
  const sys = join(root, 'sys');
  for (const open of [openRapl, (folder: string) => openHwmon(folder, () => performance.now())]) {
    const meter = open(sys);
    if (isUnavailable(meter)) {
      reasons.push(meter.reason);
      continue;
    }
    meter.close();
    return { meter: meter.description };
  }
  return { reasons };
}

/** Long enough for the clock to rise. */
const measureMs = 500;

function measure(): Promise<RooflineRun> {
  const addon = loadAddon();
  const { level, defaultThreads } = addon.cpuInfo();
  return measureRoofline(addon, level, defaultThreads, measureMs);
}

async function doctor(): Promise<void> {
  const findings = findingsOf(readFacts('/'), await measure(), findEnergy('/'));
  await writeStdout(formatFindings(findings));
  // For scripts that set up a machine.
  if (findings.some(({ grade }) => grade === 'problem')) process.exitCode = 1;
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Look at this machine: instructions, cores, quota, clock, memory, energy; and what to change.')
    .action(doctor);
}
