/** Energy sensors on trees like /sys of several machines. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ExternalMeter, parseExternal, pickNumber } from '../../src/metering/external.js';
import { openMeter } from '../../src/metering/open-meter.js';
import { advanceUj } from '../../src/metering/rapl.js';

/** A tree with these files; what is set later replaces what is there. */
function sysTree(t: TestContext, files: Readonly<Record<string, string | number>>) {
  const root = mkdtempSync(join(tmpdir(), 'nibble-sys-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const set = (path: string, value: string | number) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${value}\n`);
  };
  for (const [path, value] of Object.entries(files)) set(path, value);
  return { root, set, remove: (path: string) => rmSync(join(root, path), { recursive: true }) };
}

const range = 262_143_328_850;
const zone = (entry: string, name: string, energyUj: number) => ({
  [`class/powercap/${entry}/name`]: name,
  [`class/powercap/${entry}/energy_uj`]: energyUj,
  [`class/powercap/${entry}/max_energy_range_uj`]: range,
});
const energyOf = (entry: string) => `class/powercap/${entry}/energy_uj`;
const near = (actual: number, expected: number) => assert.ok(Math.abs(actual - expected) < 1e-6, `${actual}`);

/** An Intel server: two packages with cores and memory; the platform, and a second way to the counters. */
const intelServer = {
  ...zone('intel-rapl:0', 'package-0', 1_000_000),
  ...zone('intel-rapl:0:0', 'core', 500_000),
  ...zone('intel-rapl:0:1', 'dram', 2_000_000),
  ...zone('intel-rapl:1', 'package-1', 3_000_000),
  ...zone('intel-rapl:1:0', 'dram', 4_000_000),
  ...zone('intel-rapl:2', 'psys', 9_000_000),
  ...zone('intel-rapl-mmio:0', 'package-0', 1_000_000),
};

test('RAPL: packages and their memory add up, what they contain does not', (t) => {
  const { root, set } = sysTree(t, intelServer);
  const { meter, skipped } = openMeter({ setting: 'auto', wattsPerCore: 5, root });
  assert.deepEqual(skipped, []);
  assert.equal(meter.source, 'measured');
  assert.equal(meter.description, 'rapl package-0, package-1, package-0/dram, package-1/dram');
  near(meter.joules(), 0);
  set(energyOf('intel-rapl:0'), 3_000_000); // + 2 J
  set(energyOf('intel-rapl:0:0'), 2_400_000);
  set(energyOf('intel-rapl:1:0'), 4_500_000); // + 0.5 J
  set(energyOf('intel-rapl:2'), 20_000_000);
  set(energyOf('intel-rapl-mmio:0'), 3_000_000);
  near(meter.joules(), 2.5);
  near(meter.joules(), 2.5);
});

test('RAPL of AMD has packages alone; where there are none, the platform counts', (t) => {
  const amd = sysTree(t, { ...zone('intel-rapl:0', 'package-0', 7), ...zone('intel-rapl:0:0', 'core', 7) });
  const meter = openMeter({ setting: 'rapl', wattsPerCore: 5, root: amd.root }).meter;
  amd.set(energyOf('intel-rapl:0'), 1_500_007);
  near(meter.joules(), 1.5);
  const { root } = sysTree(t, zone('intel-rapl:1', 'psys', 0));
  assert.equal(openMeter({ setting: 'auto', wattsPerCore: 5, root }).meter.description, 'rapl psys');
});

test('a counter that wraps goes on; one that was set back starts again', (t) => {
  const { root, set } = sysTree(t, zone('intel-rapl:0', 'package-0', range - 1_000_000));
  const { meter } = openMeter({ setting: 'auto', wattsPerCore: 5, root });
  set(energyOf('intel-rapl:0'), 500_000);
  near(meter.joules(), 1.5);
  assert.equal(advanceUj(10_000_000_000, 3_000_000, range), 3_000_000);
  assert.equal(advanceUj(5, 5, range), 0);
});

test('an unreadable sensor is skipped with its reason; asked for by name it is an error', (t) => {
  const { root, set, remove } = sysTree(t, intelServer);
  // Root may read everything: a folder in the file's place fails for anyone.
  remove(energyOf('intel-rapl:1'));
  mkdirSync(join(root, energyOf('intel-rapl:1')));
  const { meter, skipped } = openMeter({ setting: 'auto', wattsPerCore: 5, root });
  assert.equal(meter.source, 'tdp');
  assert.equal(skipped.length, 2);
  assert.match(skipped[0] ?? '', /intel-rapl:1\/energy_uj can't be read/);
  assert.match(skipped[1] ?? '', /no power sensor/);
  assert.throws(() => openMeter({ setting: 'rapl', wattsPerCore: 5, root }), { code: 'config_invalid' });
  set(energyOf('intel-rapl:0'), 'nonsense');
  assert.equal(openMeter({ setting: 'auto', wattsPerCore: 5, root }).meter.source, 'tdp');
});

test('a sensor that goes away is replaced by an estimate that goes on from there', (t) => {
  const { root, set, remove } = sysTree(t, zone('intel-rapl:0', 'package-0', 0));
  const lost: string[] = [];
  const { meter } = openMeter({ setting: 'auto', wattsPerCore: 5, root, onLost: (text) => lost.push(text) });
  set(energyOf('intel-rapl:0'), 2_000_000);
  near(meter.joules(), 2);
  remove('class/powercap/intel-rapl:0');
  const after = meter.joules();
  assert.ok(after >= 2 && after < 3, `${after}`);
  assert.equal(meter.source, 'tdp');
  assert.deepEqual(lost, ['rapl package-0']);
  const end = performance.now() + 30;
  while (performance.now() < end);
  assert.ok(meter.joules() > after);
});

test('power sensors of boards are integrated; those of graphics cards and unknown chips are left alone', (t) => {
  const { root, set } = sysTree(t, {
    'class/hwmon/hwmon0/name': 'amdgpu',
    'class/hwmon/hwmon0/power1_average': 40_000_000,
    'class/hwmon/hwmon1/name': 'ina3221',
    'class/hwmon/hwmon1/in1_label': 'VDD_IN',
    'class/hwmon/hwmon1/in1_input': 5000,
    'class/hwmon/hwmon1/curr1_input': 2000, // 10 W
    'class/hwmon/hwmon1/in2_label': 'VDD_CPU',
    'class/hwmon/hwmon1/in2_input': 1000,
    'class/hwmon/hwmon1/curr2_input': 3000,
  });
  let nowMs = 1000;
  const { meter } = openMeter({ setting: 'auto', wattsPerCore: 5, root, now: () => nowMs });
  assert.equal(meter.description, 'hwmon VDD_IN');
  nowMs += 2000;
  near(meter.joules(), 20);
  set('class/hwmon/hwmon1/curr1_input', 4000); // 20 W, so 15 W in the mean
  nowMs += 1000;
  near(meter.joules(), 35);
  const gpuOnly = sysTree(t, { 'class/hwmon/hwmon0/name': 'amdgpu', 'class/hwmon/hwmon0/power1_average': 1 });
  assert.equal(openMeter({ setting: 'auto', wattsPerCore: 5, root: gpuOnly.root }).meter.source, 'tdp');
});

test('a power meter counts in microwatts, as it is now and not in the mean; unplugged, an estimate goes on', (t) => {
  const folder = 'class/hwmon/hwmon3';
  const { root, set, remove } = sysTree(t, {
    [`${folder}/name`]: 'power_meter',
    [`${folder}/power1_average`]: 90_000_000,
    [`${folder}/power1_input`]: 12_000_000,
    // The same channel in volts and amperes.
    [`${folder}/in1_input`]: 12_000,
    [`${folder}/curr1_input`]: 1000,
    [`${folder}/power2_average`]: 3_000_000,
  });
  let nowMs = 0;
  const { meter } = openMeter({ setting: 'hwmon', wattsPerCore: 5, root, now: () => nowMs });
  assert.equal(meter.description, 'hwmon power_meter, power_meter');
  nowMs += 1000;
  near(meter.joules(), 15);
  set(`${folder}/power1_input`, 14_000_000);
  nowMs += 1000;
  near(meter.joules(), 31);
  remove(folder);
  nowMs += 1000;
  assert.ok(meter.joules() >= 31);
  assert.equal(meter.source, 'tdp');
});

test('a meter outside: addresses, commands, units and answers', () => {
  assert.deepEqual(parseExternal('http://plug/rpc?id=0#aenergy.total:Wh'), {
    ask: { kind: 'http', url: 'http://plug/rpc?id=0' },
    path: ['aenergy', 'total'],
    unit: 'Wh',
  });
  assert.deepEqual(parseExternal('exec:cat /run/watts'), {
    ask: { kind: 'exec', command: 'cat /run/watts' },
    path: [],
    unit: 'W',
  });
  for (const wrong of ['ftp://x#W', 'http://x#a:BTU', 'nothing', 'http://']) {
    assert.throws(() => parseExternal(wrong), { code: 'config_invalid' }, wrong);
  }
  assert.equal(pickNumber(' 12.5\n', []), 12.5);
  assert.equal(pickNumber('{"a":{"b":3}}', ['a', 'b']), 3);
  for (const [answer, path] of [
    ['', []],
    ['-1', []],
    ['{"a":"3"}', ['a']],
    ['{"a":1}', ['__proto__']],
    ['[', ['a']],
  ] as const) {
    assert.throws(() => pickNumber(answer, path), answer);
  }
});

test('a meter outside is integrated between its answers, and lost when it falls silent', async (t) => {
  let watts = 10;
  const server = createServer((_request, response) => response.end(JSON.stringify({ apower: watts })));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  let nowMs = 0;
  const meter = new ExternalMeter(parseExternal(`http://127.0.0.1:${port}/#apower:W`), () => nowMs);
  t.after(() => meter.close());
  await meter.poll();
  nowMs = 1000;
  watts = 30;
  await meter.poll();
  near(meter.joules(), 20);
  assert.equal(meter.isLost, false);
  watts = -1;
  nowMs = 40_000;
  await meter.poll();
  near(meter.joules(), 20);
  assert.equal(meter.isLost, true);
});

test('a command that prints a counter: what it has grown by, and nothing where it begins anew', async (t) => {
  const { root, set } = sysTree(t, { count: 5 });
  const meter = new ExternalMeter(parseExternal(`exec:cat '${join(root, 'count')}'#Wh`), () => 0);
  t.after(() => meter.close());
  for (const [value, joules] of [
    [5, 0],
    [5.5, 1800],
    [0.25, 1800],
    [0.5, 2700],
  ] as const) {
    set('count', value);
    await meter.poll();
    near(meter.joules(), joules);
  }
});
