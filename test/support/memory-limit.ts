/** A cgroup of our own with a memory limit, version 1 or 2, where this machine lets us make one. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type MemoryGroup = {
  /** The start of a command line that runs the rest of it inside the group. */
  readonly launcher: readonly string[];
  /** Most that the group has used, bytes. */
  maxBytes(): number;
  /** How often the kernel had to refuse memory, or to end a process. */
  failures(): number;
  /** Removes the group; whatever ran in it must have ended. */
  remove(): void;
};

const root = '/sys/fs/cgroup';
let made = 0;

/** What the two versions call the same things. */
const names = {
  1: { limit: 'memory.limit_in_bytes', most: 'memory.max_usage_in_bytes', failures: 'memory.failcnt' },
  2: { limit: 'memory.max', most: 'memory.peak', failures: 'memory.events' },
} as const;

function make(parent: string, version: 1 | 2, limitBytes: number): MemoryGroup {
  made += 1;
  const folder = join(parent, `nibble-test-${process.pid}-${made}`);
  const { limit, most, failures } = names[version];
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  mkdirSync(folder);
  try {
    writeFileSync(join(folder, limit), String(limitBytes), { flag: 'r+' });
    read(most);
  } catch (error) {
    rmdirSync(folder);
    throw error;
  }
  return {
    launcher: ['bash', '-c', `echo $$ > ${folder}/cgroup.procs && exec "$@"`, 'limited'],
    maxBytes: () => Number(read(most)),
    failures: () => Number(/^(?:oom )?(\d+)$/m.exec(read(failures))?.[1]),
    remove: () => rmdirSync(folder),
  };
}

/** A group, or why there is none. */
export function makeMemoryGroup(limitBytes: number): MemoryGroup | string {
  try {
    const old = join(root, 'memory');
    return existsSync(old) ? make(old, 1, limitBytes) : make(root, 2, limitBytes);
  } catch (error) {
    return String(error);
  }
}
