/** `nibble doctor` on machines that aren't here: their files in /proc and /sys. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readFacts } from '../../src/cli/doctor/facts.js';
import { findingsOf, formatFindings } from '../../src/cli/doctor/findings.js';
import { findEnergy } from '../../src/cli/doctor/index.js';

function machine(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'nibble-doctor-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(name)), { recursive: true });
    writeFileSync(join(root, name), `${text}\n`);
  }
  return root;
}

function report(root: string) {
  const findings = findingsOf(readFacts(root), null, findEnergy(root));
  const by = (topic: string) => findings.find((one) => one.topic === topic);
  return {
    by,
    text: formatFindings(findings),
    grades: Object.fromEntries(findings.map((one) => [one.topic, one.grade])),
  };
}

const cpu = 'sys/devices/system/cpu';

/** Four cores with AVX2, in a container with a quota of one and a half, on a machine set up carelessly. */
const avx2Machine = {
  'proc/cpuinfo':
    'processor : 0\nmodel name : AMD EPYC 7443 24-Core Processor\nflags : fpu sse2 fma f16c avx avx2 bmi2\n',
  'proc/self/status': 'Name:\tnode\nCpus_allowed_list:\t0-3,9',
  [`${cpu}/online`]: '0-3',
  'proc/self/cgroup': '0::/box/nibble',
  'sys/fs/cgroup/cpu.stat': 'usage_usec 1',
  'sys/fs/cgroup/box/cpu.max': '150000 100000',
  'sys/fs/cgroup/box/cpu.stat': 'usage_usec 5\nnr_periods 200\nnr_throttled 50',
  'sys/fs/cgroup/box/nibble/cpu.max': 'max 100000',
  'sys/fs/cgroup/box/nibble/memory.max': String(256 * 2 ** 20),
  [`${cpu}/cpu0/cpufreq/scaling_governor`]: 'powersave',
  [`${cpu}/cpu0/cpufreq/scaling_max_freq`]: '2000000',
  [`${cpu}/cpu0/cpufreq/cpuinfo_max_freq`]: '4000000',
  [`${cpu}/cpu1/cpufreq/scaling_governor`]: 'performance',
  [`${cpu}/cpu0/thermal_throttle/package_throttle_count`]: '17',
  'sys/kernel/mm/transparent_hugepage/enabled': 'always madvise [never]',
  'proc/meminfo': 'MemTotal:       8388608 kB\nMemFree: 1 kB\nMemAvailable:   4194304 kB',
  'proc/stat': 'cpu  700 0 100 100 0 0 0 100 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1',
  'proc/loadavg': '9.50 3.00 1.00 2/300 12345',
};

/** Two cores of two threads each with AVX-512 VNNI and readable counters: nothing to say. */
const avx512Machine = {
  'proc/cpuinfo':
    'model name\t: AMD EPYC 9755\nflags\t\t: fma f16c avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni avx_vnni',
  'proc/self/status': 'Cpus_allowed_list:\t0-3',
  [`${cpu}/online`]: '0-3',
  ...Object.fromEntries(
    ['0,2', '1,3', '0,2', '1,3'].map((list, i) => [`${cpu}/cpu${i}/topology/core_cpus_list`, list]),
  ),
  'proc/self/cgroup': '4:memory:/\n3:cpu,cpuacct:/',
  'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1',
  'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
  'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
  [`${cpu}/cpu0/cpufreq/scaling_governor`]: 'performance',
  [`${cpu}/cpu0/cpufreq/scaling_max_freq`]: '4100000',
  [`${cpu}/cpu0/cpufreq/cpuinfo_max_freq`]: '4100000',
  [`${cpu}/cpu0/thermal_throttle/core_throttle_count`]: '0',
  'sys/kernel/mm/transparent_hugepage/enabled': 'always [madvise] never',
  'proc/meminfo': 'MemTotal: 16777216 kB\nMemAvailable: 8388608 kB',
  'proc/stat': 'cpu  1000 0 0 9000 0 0 0 0 0 0',
  'proc/loadavg': '0.10 0.10 0.10 1/100 1',
  'sys/class/powercap/intel-rapl:0/name': 'package-0',
  'sys/class/powercap/intel-rapl:0/energy_uj': '1234',
  'sys/class/powercap/intel-rapl:0/max_energy_range_uj': '65532610987',
};

test('an AVX2 machine: what slows it down, and what changing that is worth', (t) => {
  const { by, grades } = report(machine(t, avx2Machine));
  assert.match(by('cpu')?.says ?? '', /^AMD EPYC 7443 .*: level avx2 \(no VNNI\)$/);
  assert.match(by('cores')?.says ?? '', /^4 cores \(4 CPUs\)/);
  // The smallest quota on the way up counts, and its own statistics: 50 of 200.
  assert.equal(by('quota')?.says, '1.5 cores of 4, used up in 25 % of its periods');
  assert.match(
    by('quota')?.change ?? '',
    /^1 core computes\. A quota of 4 gives up to 4 times .* 0\.5 cores of the quota/,
  );
  assert.equal(by('governor')?.says, 'performance, powersave');
  assert.equal(by('clock')?.says, 'at most 2.00 GHz of 4.00 GHz');
  assert.match(by('clock')?.change ?? '', /up to 100 % faster/);
  assert.match(by('heat')?.says ?? '', /17 times/);
  assert.equal(by('memory')?.says, '8.0 GiB, 4.0 GiB available, limited to 0.3 GiB');
  assert.match(by('huge pages')?.change ?? '', /echo madvise/);
  assert.match(by('energy')?.says ?? '', /^not measured: no RAPL zone/);
  // 100 of 1,000 ticks; the guest time at the end is part of the user's.
  assert.match(by('steal')?.says ?? '', /^10 % /);
  assert.deepEqual(grades, {
    cpu: 'ok',
    cores: 'ok',
    quota: 'note',
    governor: 'note',
    clock: 'note',
    heat: 'note',
    memory: 'problem',
    'huge pages': 'note',
    energy: 'note',
    steal: 'note',
    load: 'note',
  });
});

test('an AVX-512 machine that is set up well: nothing to change', (t) => {
  const { by, text, grades } = report(machine(t, avx512Machine));
  assert.equal(by('cpu')?.says, 'AMD EPYC 9755: level avx512');
  assert.match(by('cores')?.says ?? '', /^2 cores \(4 CPUs\)/);
  assert.equal(by('quota')?.says, 'none');
  assert.equal(by('energy')?.says, 'measured: rapl package-0');
  assert.deepEqual([...new Set(Object.values(grades))], ['ok']);
  assert.doesNotMatch(text, /→/);
  assert.match(text, /^ok {4}cpu {9}AMD EPYC 9755: level avx512\n/);
});

test('a machine that tells nothing is no failure', (t) => {
  const { grades } = report(machine(t, {}));
  assert.deepEqual(grades, { cpu: 'problem', cores: 'ok', quota: 'ok', energy: 'note' });
});

test('levels need all of their flags', (t) => {
  const level = (flags: string) => readFacts(machine(t, { 'proc/cpuinfo': flags })).level;
  assert.equal(level('flags : avx2 fma'), 'scalar');
  assert.equal(level('flags : avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512dq'), 'avxvnni');
  assert.equal(level('Features : fp asimd asimddp i8mm'), 'neon');
  assert.equal(level('Features : fp asimd'), 'scalar');
});
