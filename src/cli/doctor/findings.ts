/** What the facts mean for speed, memory and energy, and what to change for how much. */
import type { RooflineRun } from '../../native/contract.js';
import type { Facts } from './facts.js';

export type Finding = {
  /** `ok`; `note`: could be better; `problem`: something won't work as it should. */
  readonly grade: 'ok' | 'note' | 'problem';
  readonly topic: string;
  readonly says: string;
  /** What to do, and what that is worth. */
  readonly change?: string;
};

/** How energy is measured: a meter, or why there is none. */
export type EnergyFound = { readonly meter: string } | { readonly reasons: readonly string[] };

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const cores = (count: number): string => `${Number(count.toFixed(2))} core${count === 1 ? '' : 's'}`;

function cpu({ brand, level }: Facts): Finding {
  const says = `${brand}: level ${level}`;
  if (level === 'scalar') {
    const change = 'No level of instructions that Nibble has kernels for: plain code computes, tens of times slower.';
    return { grade: 'problem', topic: 'cpu', says, change };
  }
  if (level !== 'avx2') return { grade: 'ok', topic: 'cpu', says };
  const change = 'Nothing to set. A CPU with VNNI computes prompts about twice as fast (docs/performance.md).';
  return { grade: 'ok', topic: 'cpu', says: `${says} (no VNNI)`, change };
}

function processors({ cpus, cores: physical }: Facts): Finding {
  const says = `${cores(physical)} (${cpus} CPUs); as many threads compute as there are physical cores`;
  return { grade: 'ok', topic: 'cores', says };
}

function quota({ quotaCores, throttledShare, cores: physical }: Facts): Finding {
  const topic = 'quota';
  if (quotaCores === null) return { grade: 'ok', topic, says: 'none' };
  const throttled = throttledShare === null ? '' : `, used up in ${percent(throttledShare)} of its periods`;
  const says = `${cores(quotaCores)} of ${physical}${throttled}`;
  const threads = Math.max(1, Math.min(physical, Math.floor(quotaCores)));
  if (quotaCores < 1) {
    const change = 'Less than one core: the only thread is stopped in every period. Allow 1 at least.';
    return { grade: 'problem', topic, says, change };
  }
  if (quotaCores >= physical) return { grade: 'ok', topic, says };
  const rest = quotaCores - threads;
  const waste = rest > 0.05 ? ` ${cores(rest)} of the quota is left to the HTTP server: whole numbers waste none.` : '';
  const gain = (physical / threads).toFixed(1).replace(/\.0$/, '');
  const change = `${cores(threads)} computes. A quota of ${physical} gives up to ${gain} times the throughput.${waste}`;
  return { grade: 'note', topic, says, change };
}

function clock({ governors, clock: speeds, heatEvents }: Facts): readonly Finding[] {
  const found: Finding[] = [];
  if (governors.length > 0) {
    const slow = governors.filter((name) => name !== 'performance');
    const says = `${governors.join(', ')}`;
    const change =
      'The clock rises only some time after work has begun, so short requests run slowly. ' +
      'For steady latency: cpupower frequency-set -g performance (costs idle power).';
    found.push({ topic: 'governor', says, ...(slow.length === 0 ? { grade: 'ok' } : { grade: 'note', change }) });
  }
  if (speeds !== null) {
    const ghz = (hz: number) => `${(hz / 1e9).toFixed(2)} GHz`;
    const isCapped = speeds.allowedHz < 0.98 * speeds.topHz;
    const says = `at most ${ghz(speeds.allowedHz)}${isCapped ? ` of ${ghz(speeds.topHz)}` : ''}`;
    const gain = percent(speeds.topHz / speeds.allowedHz - 1);
    const change = `Without the cap prompts are computed up to ${gain} faster; decoding, bound by memory, gains less.`;
    found.push({ topic: 'clock', says, ...(isCapped ? { grade: 'note', change } : { grade: 'ok' }) });
  }
  if (heatEvents !== null) {
    const says = heatEvents === 0 ? 'never slowed down' : `slowed down ${heatEvents} times since the start`;
    const change = 'The CPU gets too hot: better cooling, or fewer threads (--threads), keeps speed steady.';
    found.push({ topic: 'heat', says, ...(heatEvents === 0 ? { grade: 'ok' } : { grade: 'note', change }) });
  }
  return found;
}

/** Below this not even the default model fits with room to work. */
const memoryBytesMin = 400 * 2 ** 20;

function memory({ memoryBytes, availableBytes, memoryLimitBytes, hugePages }: Facts): readonly Finding[] {
  const found: Finding[] = [];
  if (memoryBytes !== null) {
    const usable = Math.min(availableBytes ?? memoryBytes, memoryLimitBytes ?? memoryBytes);
    const limit = memoryLimitBytes === null ? '' : `, limited to ${gib(memoryLimitBytes)}`;
    const says = `${gib(memoryBytes)}, ${gib(availableBytes ?? memoryBytes)} available${limit}`;
    const change = `The default model needs ${gib(memoryBytesMin)}. A small cache (--kv-tokens, --kv kv8) saves some.`;
    const isLow = usable < memoryBytesMin;
    found.push({ topic: 'memory', says, ...(isLow ? { grade: 'problem', change } : { grade: 'ok' }) });
  }
  if (hugePages !== null) {
    const change =
      'Weights are asked to lie in huge pages, which saves translations of addresses. To allow that: ' +
      'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; see the gain with nibble bench engine.';
    const isOff = hugePages === 'never';
    found.push({ topic: 'huge pages', says: hugePages, ...(isOff ? { grade: 'note', change } : { grade: 'ok' }) });
  }
  return found;
}

function speed(run: RooflineRun): Finding {
  const { readGBs, int8GMacs, threads } = run;
  const says =
    `${readGBs.toFixed(1)} GB/s read, ${int8GMacs.toFixed(0)} int8 GMAC/s with ${threads} threads: ` +
    `at most ${(readGBs / 0.1).toFixed(0)} tokens/s for each 100 MB of weights`;
  return { grade: 'ok', topic: 'bandwidth', says };
}

function energyFinding(energy: EnergyFound): Finding {
  if ('meter' in energy) return { grade: 'ok', topic: 'energy', says: `measured: ${energy.meter}` };
  const change =
    'Energy is estimated from CPU time. If there is a counter, let the server read it (chmod a+r ' +
    '/sys/class/powercap/intel-rapl:*/energy_uj, in containers a read-only mount); else name a meter (--energy-meter).';
  return { grade: 'note', topic: 'energy', says: `not measured: ${energy.reasons.join('; ')}`, change };
}

function others({ stealShare, load, cpus }: Facts): readonly Finding[] {
  const found: Finding[] = [];
  if (stealShare !== null) {
    const says = `${percent(stealShare)} of the CPU time went to other guests of the host`;
    const change = 'Other guests take turns on these cores: speed will vary. Dedicated cores don’t.';
    found.push({ topic: 'steal', says, ...(stealShare > 0.02 ? { grade: 'note', change } : { grade: 'ok' }) });
  }
  if (load !== null) {
    const says = `${load.toFixed(1)} on ${cpus} CPUs`;
    const change =
      'Other programs want the same cores. Threads that wait for each other suffer most: try --threads fewer.';
    found.push({ topic: 'load', says, ...(load > cpus ? { grade: 'note', change } : { grade: 'ok' }) });
  }
  return found;
}

/** @param measured the machine's rates; null where they weren't measured */
export function findingsOf(facts: Facts, measured: RooflineRun | null, energy: EnergyFound): readonly Finding[] {
  return [
    cpu(facts),
    processors(facts),
    quota(facts),
    ...clock(facts),
    ...memory(facts),
    ...(measured === null ? [] : [speed(measured)]),
    energyFinding(energy),
    ...others(facts),
  ];
}

/** For people: a line for each finding, and what to change below it. */
export function formatFindings(findings: readonly Finding[]): string {
  const marks = { ok: 'ok  ', note: 'note', problem: 'BAD ' } as const;
  const width = Math.max(...findings.map(({ topic }) => topic.length));
  const indent = ' '.repeat(marks.ok.length + width + 4);
  const lines = findings.flatMap(({ grade, topic, says, change }) => [
    `${marks[grade]}  ${topic.padEnd(width)}  ${says}`,
    ...(change === undefined ? [] : [`${indent}→ ${change}`]),
  ]);
  return `${lines.join('\n')}\n`;
}
