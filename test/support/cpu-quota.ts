/** A cgroup of our own with a CPU quota, version 1 or 2, where this machine lets us make one. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PERIOD_US = 100_000;
let made = 0;

export type QuotaGroup = {
  readonly version: 1 | 2;
  /** The start of a command line that runs the rest of it inside the group. */
  readonly launcher: readonly string[];
  /** How often the kernel has stopped the group because its quota was used up. */
  throttledCount(): number;
  /** Removes the group; whatever ran in it must have ended. */
  remove(): void;
};

/** This process's folder in a hierarchy, from /proc/self/cgroup. */
function ownFolder(point: string, version: 1 | 2): string {
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (version === 2 ? line.startsWith('0::') : controllers.split(',').includes('cpu')) return join(point, path);
  }
  return point;
}

function tryMake(parent: string, version: 1 | 2, quotaCores: number): QuotaGroup {
  made += 1;
  const folder = join(parent, `nibble-test-${process.pid}-${made}`);
  mkdirSync(folder);
  try {
    const quota = String(quotaCores * PERIOD_US);
    if (version === 2) {
      writeFileSync(join(folder, 'cpu.max'), `${quota} ${PERIOD_US}`, { flag: 'r+' });
    } else {
      writeFileSync(join(folder, 'cpu.cfs_period_us'), String(PERIOD_US), { flag: 'r+' });
      writeFileSync(join(folder, 'cpu.cfs_quota_us'), quota, { flag: 'r+' });
    }
  } catch (error) {
    rmdirSync(folder);
    throw error;
  }
  const statFile = join(folder, 'cpu.stat');
  return {
    version,
    launcher: ['/bin/sh', '-c', `echo $$ > '${join(folder, 'cgroup.procs')}' && exec "$@"`, 'sh'],
    throttledCount: () => Number(/nr_throttled (\d+)/.exec(readFileSync(statFile, 'utf8'))?.[1]),
    remove: () => rmdirSync(folder),
  };
}

/** A group with this quota, or what kept us from making one. */
export function makeQuotaGroup(quotaCores: number): QuotaGroup | string {
  const places = [
    ['/sys/fs/cgroup', 2],
    ['/sys/fs/cgroup/unified', 2],
    ['/sys/fs/cgroup/cpu', 1],
    ['/sys/fs/cgroup/cpu,cpuacct', 1],
  ] as const;
  const reasons: string[] = [];
  for (const [point, version] of places) {
    if (!existsSync(join(point, 'cgroup.procs'))) continue;
    try {
      return tryMake(ownFolder(point, version), version, quotaCores);
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error));
    }
  }
  return reasons.length > 0 ? reasons.join('; ') : 'there are no cgroups';
}
