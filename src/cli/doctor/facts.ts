/** What /proc and /sys say of a machine. Everything is optional: containers hide much, and other systems have none. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IsaLevel } from '../../native/contract.js';

export type Facts = {
  readonly brand: string;
  /** The best level of instructions that the CPU's flags allow. */
  readonly level: IsaLevel;
  /** CPUs that this process may use, and physical cores among them. */
  readonly cpus: number;
  readonly cores: number;
  /** CPU quota of the control group, in cores; null without one. */
  readonly quotaCores: number | null;
  /** Share of the quota's periods in which the group was stopped; null without a quota. */
  readonly throttledShare: number | null;
  /** Of every CPU that tells, each once. */
  readonly governors: readonly string[];
  /** Highest clock that is allowed, and that the CPU has, Hz. */
  readonly clock: { readonly allowedHz: number; readonly topHz: number } | null;
  /** Times that a core or a package was slowed down because it was hot; null where nothing counts them. */
  readonly heatEvents: number | null;
  /** `always`, `madvise` or `never`. */
  readonly hugePages: string | null;
  readonly memoryBytes: number | null;
  readonly availableBytes: number | null;
  readonly memoryLimitBytes: number | null;
  /** Share of the CPU time since the start that other guests of the host took. */
  readonly stealShare: number | null;
  /** Tasks that ran or waited for a CPU, the average of the last minute. */
  readonly load: number | null;
};

function read(path: string): string | null {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return null;
  }
}

function readNumber(path: string): number | null {
  const text = read(path);
  return text === null || !/^-?\d{1,18}$/.test(text) ? null : Number(text);
}

function namesIn(folder: string, pattern: RegExp): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => pattern.test(name));
  } catch {
    return [];
  }
}

/** As native/kernels/dispatch decides: a level needs these flags of /proc/cpuinfo, and those of the level below. */
const levelFlags: readonly (readonly [IsaLevel, readonly string[]])[] = [
  ['avx2', ['avx2', 'fma', 'f16c']],
  ['avxvnni', ['avx2', 'fma', 'f16c', 'avx_vnni']],
  ['avx512', ['avx2', 'fma', 'f16c', 'avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512_vnni']],
  ['neon', ['asimddp']],
];

function cpuOf(root: string): Pick<Facts, 'brand' | 'level'> {
  const text = read(join(root, 'proc/cpuinfo')) ?? '';
  const flags = new Set((/^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1] ?? '').trim().split(/\s+/));
  const brand = /^(?:model name|Model)\s*:\s*(.*)$/m.exec(text)?.[1] ?? 'a CPU that does not say its name';
  const level = levelFlags.findLast(([, needed]) => needed.every((flag) => flags.has(flag)));
  return { brand, level: level?.[0] ?? 'scalar' };
}

/** "0-3,8" → [0, 1, 2, 3, 8]; bounded, since the text comes from outside. */
function cpuList(text: string): readonly number[] {
  return text.split(',').flatMap((part) => {
    const [first = Number.NaN, last = first] = part.split('-').map(Number);
    const count = last - first + 1;
    return count > 0 && count <= 8192 ? Array.from({ length: count }, (_, i) => first + i) : [];
  });
}

function coresOf(root: string): Pick<Facts, 'cpus' | 'cores'> {
  const status = read(join(root, 'proc/self/status')) ?? '';
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1];
  const online = read(join(root, 'sys/devices/system/cpu/online')) ?? '0';
  const isOnline = new Set(cpuList(online));
  const cpus = cpuList(allowed ?? online).filter((cpu) => isOnline.has(cpu));
  const siblings = cpus.map((cpu) => {
    const folder = join(root, `sys/devices/system/cpu/cpu${cpu}/topology`);
    return read(join(folder, 'core_cpus_list')) ?? read(join(folder, 'thread_siblings_list')) ?? String(cpu);
  });
  return { cpus: Math.max(1, cpus.length), cores: Math.max(1, new Set(siblings).size) };
}

/** Folders of the own control group and those above it, the own first; version 2, and 1's CPU controller. */
function groupFolders(root: string, controller: 'cpu' | 'memory'): readonly string[] {
  const lines = (read(join(root, 'proc/self/cgroup')) ?? '').split('\n').map((line) => line.split(':'));
  const isVersion1 = ([, names = '']: readonly string[]) => names.split(',').includes(controller);
  const own = lines.find(isVersion1) ?? lines.find(([id]) => id === '0') ?? [];
  const base = join(root, 'sys/fs/cgroup', isVersion1(own) ? controller : '');
  const parts = own.slice(2).join(':').split('/').filter(Boolean);
  const folders = parts.map((_, i) => join(base, ...parts.slice(0, parts.length - i)));
  // In a container the group itself is mounted there, whatever its path outside.
  return [...folders, base];
}

/** Version 2 has quota and period in one file, with `max` for none; version 1 has two, with -1 for none. */
function quotaIn(folder: string): number | null {
  const [quota, period] = (read(join(folder, 'cpu.max')) ?? '').split(' ').map(Number);
  const us = quota || readNumber(join(folder, 'cpu.cfs_quota_us'));
  const periodUs = period ?? readNumber(join(folder, 'cpu.cfs_period_us'));
  return us && periodUs && us > 0 && periodUs > 0 ? us / periodUs : null;
}

function quotaOf(root: string): Pick<Facts, 'quotaCores' | 'throttledShare'> {
  const limited = groupFolders(root, 'cpu')
    .map((folder) => ({ folder, cores: quotaIn(folder) }))
    .filter((entry): entry is { folder: string; cores: number } => entry.cores !== null)
    .sort((a, b) => a.cores - b.cores)[0];
  if (limited === undefined) return { quotaCores: null, throttledShare: null };
  const statistics = read(join(limited.folder, 'cpu.stat')) ?? '';
  const count = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(statistics)?.[1] ?? 0);
  const periods = count('nr_periods');
  return { quotaCores: limited.cores, throttledShare: periods === 0 ? 0 : count('nr_throttled') / periods };
}

function clockOf(root: string): Pick<Facts, 'governors' | 'clock' | 'heatEvents'> {
  const folder = join(root, 'sys/devices/system/cpu');
  const cpus = namesIn(folder, /^cpu\d+$/).map((name) => join(folder, name));
  const governors = cpus.map((cpu) => read(join(cpu, 'cpufreq/scaling_governor'))).filter((name) => name !== null);
  const kilohertz = (name: string) =>
    cpus.map((cpu) => readNumber(join(cpu, 'cpufreq', name))).filter((value) => value !== null);
  const [allowed, top] = [kilohertz('scaling_max_freq'), kilohertz('cpuinfo_max_freq')];
  const heat = cpus
    .flatMap((cpu) => ['core_throttle_count', 'package_throttle_count'].map((name) => [cpu, name] as const))
    .map(([cpu, name]) => readNumber(join(cpu, 'thermal_throttle', name)))
    .filter((value) => value !== null);
  const clock =
    allowed.length === 0 || top.length === 0
      ? null
      : { allowedHz: Math.max(...allowed) * 1000, topHz: Math.max(...top) * 1000 };
  return {
    governors: [...new Set(governors)].sort(),
    clock,
    heatEvents: heat.length === 0 ? null : Math.max(...heat),
  };
}

function memoryOf(root: string): Pick<Facts, 'memoryBytes' | 'availableBytes' | 'memoryLimitBytes' | 'hugePages'> {
  const text = read(join(root, 'proc/meminfo')) ?? '';
  const kibibytes = (name: string) => {
    const value = new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(text)?.[1];
    return value === undefined ? null : Number(value) * 1024;
  };
  const total = kibibytes('MemTotal');
  const limits = groupFolders(root, 'memory')
    .flatMap((folder) => [join(folder, 'memory.max'), join(folder, 'memory.limit_in_bytes')])
    .map(readNumber)
    // Version 1 writes a number beyond all memory where there is no limit.
    .filter((value): value is number => value !== null && value > 0 && value < (total ?? Number.POSITIVE_INFINITY));
  const hugePages = read(join(root, 'sys/kernel/mm/transparent_hugepage/enabled')) ?? '';
  return {
    memoryBytes: total,
    availableBytes: kibibytes('MemAvailable'),
    memoryLimitBytes: limits.length === 0 ? null : Math.min(...limits),
    hugePages: /\[(\w+)\]/.exec(hugePages)?.[1] ?? null,
  };
}

function othersOf(root: string): Pick<Facts, 'stealShare' | 'load'> {
  const times =
    /^cpu +(.*)$/m
      .exec(read(join(root, 'proc/stat')) ?? '')?.[1]
      ?.split(' ')
      .map(Number) ?? [];
  // user nice system idle iowait irq softirq steal; guest times are part of user.
  const sum = times.slice(0, 8).reduce((a, b) => a + b, 0);
  const steal = times[7];
  const load = Number.parseFloat(read(join(root, 'proc/loadavg')) ?? '');
  return { stealShare: steal === undefined || sum === 0 ? null : steal / sum, load: Number.isNaN(load) ? null : load };
}

/** @param root the folder that holds `proc` and `sys`: `/`, or a copy of another machine's */
export function readFacts(root: string): Facts {
  return { ...cpuOf(root), ...coresOf(root), ...quotaOf(root), ...clockOf(root), ...memoryOf(root), ...othersOf(root) };
}
