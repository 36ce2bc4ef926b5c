/**
 * RAPL through powercap: energy counters of Intel CPUs and, from Linux 5.8 on, of AMD's. Readable by root alone unless
 * the operator allows it; a container needs a read-only mount of /sys/class/powercap and of what its links point to.
 */
import { join } from 'node:path';
import { listFolder, readCount, readWord, SensorError } from './sensor-file.js';
import type { Meter, Unavailable } from './types.js';

type Zone = { readonly name: string; readonly path: string; readonly rangeUj: number; lastUj: number; isLost: boolean };

/**
 * The zones that add up without counting anything twice. A package contains its `core` and `uncore`, and `psys`
 * contains the packages, so these are left out; `dram` is beside its package. Zones of `intel-rapl-mmio` are the same
 * counters by another way.
 */
function chooseZones(folder: string): readonly { readonly name: string; readonly path: string }[] {
  const zones = listFolder(folder)
    .filter((entry) => /^intel-rapl:\d+(:\d+)?$/.test(entry))
    .map((entry) => ({ entry, path: join(folder, entry), name: readWord(join(folder, entry, 'name')) ?? '' }));
  const packages = zones.filter(({ name }) => /^package-\d+(-die-\d+)?$/.test(name));
  if (packages.length === 0) return zones.filter(({ name }) => name === 'psys');
  const parents = new Map(packages.map(({ entry, name }) => [entry, name]));
  const memory = zones.flatMap(({ entry, name, path }) => {
    const parent = parents.get(entry.split(':').slice(0, 2).join(':'));
    return name === 'dram' && parent !== undefined ? [{ name: `${parent}/dram`, path }] : [];
  });
  return [...packages, ...memory];
}

function openZone({ name, path }: { readonly name: string; readonly path: string }): Zone {
  const rangeUj = readCount(join(path, 'max_energy_range_uj'));
  return { name, path: join(path, 'energy_uj'), rangeUj, lastUj: readCount(join(path, 'energy_uj')), isLost: false };
}

/**
 * Microjoules between two readings. A counter that fell has wrapped, or, if that would be more than half of its range
 * (a machine doesn't use so much between two readings), it was set back to zero, as after a suspend.
 */
export function advanceUj(lastUj: number, nowUj: number, rangeUj: number): number {
  if (nowUj >= lastUj) return nowUj - lastUj;
  const wrapped = nowUj - lastUj + rangeUj;
  return wrapped >= 0 && wrapped < rangeUj / 2 ? wrapped : nowUj;
}

/** Counters wrap after minutes to hours at full load: it must be read at least once a minute. */
class RaplMeter implements Meter {
  readonly source = 'measured';
  private readonly zones: readonly Zone[];
  private sumUj = 0;

  constructor(zones: readonly Zone[]) {
    this.zones = zones;
  }

  get description(): string {
    return `rapl ${this.zones.map(({ name }) => name).join(', ')}`;
  }

  /** Whether a zone has gone: then the sum lacks a part of the machine. */
  get isLost(): boolean {
    return this.zones.some(({ isLost }) => isLost);
  }

  joules(): number {
    for (const zone of this.zones) this.advance(zone);
    return this.sumUj * 1e-6;
  }

  private advance(zone: Zone): void {
    if (zone.isLost) return;
    try {
      const nowUj = readCount(zone.path);
      this.sumUj += advanceUj(zone.lastUj, nowUj, zone.rangeUj);
      zone.lastUj = nowUj;
    } catch {
      zone.isLost = true;
    }
  }

  close(): void {}
}

/** @param root a tree like /sys */
export function openRapl(root: string): RaplMeter | Unavailable {
  const folder = join(root, 'class/powercap');
  const zones = chooseZones(folder);
  if (zones.length === 0) return { reason: `no RAPL zone in ${folder}` };
  try {
    return new RaplMeter(zones.map(openZone));
  } catch (error) {
    if (error instanceof SensorError) return { reason: error.message };
    throw error;
  }
}
