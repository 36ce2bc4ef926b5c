/** What `serve` says when it is ready: what is running, with what, and where. */

import { KV_BLOCK_TOKENS } from '../limits.js';
import type { EnergyMonitor } from '../metering/energy-monitor.js';
import { printable } from './printable.js';
import type { FirstModel } from './serve-models.js';

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;

function energyPart(monitor: Pick<EnergyMonitor, 'source' | 'description'> | null): string {
  if (monitor === null) return 'energy not metered';
  return monitor.source === 'measured' ? `energy measured by ${monitor.description}` : 'energy estimated';
}

/** One line for programs to read; on a terminal the same parts below each other. */
export function bannerOf(
  { url, adminUrl }: { readonly url: string; readonly adminUrl: string | null },
  { name, loaded: { opened, model } }: FirstModel,
  monitor: Pick<EnergyMonitor, 'source' | 'description'> | null,
  isTerminal: boolean,
): string {
  const { level, threads, packedBytes, kvBytes, loadNs } = opened.nativeModel.info;
  const kvTokens = opened.engine.gauges().kvBlocksTotal * KV_BLOCK_TOKENS;
  const recipe = model.recipe.name;
  const parts = [
    `nibble: ready on ${url}`,
    `model ${name}`,
    ...(recipe === undefined ? [] : [`recipe ${recipe}`]),
    `isa ${level}`,
    `${threads} thread${threads === 1 ? '' : 's'}`,
    `weights ${mebibytes(packedBytes)}`,
    `KV pool ${kvTokens} tokens (${mebibytes(kvBytes)})`,
    energyPart(monitor),
    `loaded in ${Math.round(loadNs / 1e6)} ms`,
    ...(adminUrl === null ? [] : [`admin ${adminUrl}`]),
  ];
  return `${parts.map(printable).join(isTerminal ? '\n        ' : ' · ')}\n`;
}
