// What `nibble tco` reads and prints: hostile scenarios are refused with a reason, examples run, JSON fits its schema.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { examples } from '../../src/cli/tco/examples.js';
import { readMeasured } from '../../src/cli/tco/measured.js';
import { describePlan, describePlanJson, money } from '../../src/cli/tco/present.js';
import { checkNames, parseScenario, readScenario } from '../../src/cli/tco/read-scenario.js';
import { verdict } from '../../src/cli/tco/report.js';
import { withMeasured, withPrices } from '../../src/cli/tco/site.js';
import { accelerators, joulesOf, publishedModels, requestGemms } from '../../src/cost/accelerators/index.js';
import { withSimulated } from '../../src/cost/tco/accelerated.js';
import { analyze } from '../../src/cost/tco/analysis.js';
import { choicesOf, type RecipeFigures, type Scenario } from '../../src/cost/tco/scenario.js';
import { NibbleError } from '../../src/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-tco-'));
after(() => rmSync(folder, { recursive: true }));
const write = (name: string, content: unknown): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};
const schema = (name: string) =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`../../docs/schemas/${name}`, import.meta.url)), 'utf8'));
const names = Object.keys(examples);
const example = (name: string): Scenario => withSimulated(examples[name] ?? assert.fail(name));
const fail = (message: string) => new NibbleError('scenario_invalid', { path: 'x', message });

test('every example is a scenario; its JSON fits the schema; its table has a line for each choice', () => {
  const ajv = new Ajv2020({ allErrors: true });
  ajv.addSchema(schema('machine.json'));
  const validate = ajv.compile(schema('tco.json'));
  const machine = { cpu: 'x', isa: 'avx2', threads: 1, cores: 1 };
  assert.ok(names.length >= 3);
  for (const name of names) {
    const scenario = parseScenario(JSON.parse(JSON.stringify(examples[name])), fail);
    const plan = { scenario, analysis: analyze(scenario, 20, 1) };
    const result = JSON.parse(JSON.stringify({ ...describePlanJson(plan), machine, model: null, commit: 'c' }));
    assert.ok(validate(result), JSON.stringify(validate.errors));
    for (const choice of choicesOf(scenario)) assert.ok(describePlan(plan).includes(choice.name));
    assert.match(verdict(plan), /\.$/);
  }
});

/** The call centre with one thing changed, by its path. */
function changed(path: string, value: unknown): unknown {
  const content = JSON.parse(JSON.stringify(examples['call-centre']));
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  const target = keys.reduce((at, key) => at[key], content);
  if (value === undefined) delete target[last];
  else target[last] = value;
  return content;
}

test('what is wrong with a scenario is said with its place', () => {
  const cases: readonly (readonly [string, unknown, RegExp])[] = [
    ['workload.promptTokens', undefined, /^\/workload lacks promptTokens$/],
    ['workload.promptTokens', '12', /^\/workload\/promptTokens must be number$/],
    ['workload.promptTokens', { low: 5, likely: 4, high: 9 }, /^\/workload\/promptTokens is no range/],
    ['workload.promptTokens', { low: 1, likely: 2, high: Number.POSITIVE_INFINITY }, /is no range/],
    ['workload.promptTokens', { low: 1, likely: 2, high: 3, mean: 2 }, /is no range/],
    ['workload.promptTokens', { low: 0, likely: 4, high: 9 }, /^\/workload\/promptTokens must be >= 1$/],
    ['workload.sites', { low: 0.5, likely: 1, high: 2 }, /^\/workload\/sites must be (integer|>= 1)$/],
    ['workload.peakfactor', 2, /^\/workload has the unknown peakfactor$/],
    ['options.1.kind', 'shed', /^\/options\/1 needs "kind": one of box, cloud, accelerator$/],
    ['options.1.kind', 'toString', /^\/options\/1 needs "kind"/],
    ['options.1.recipes.0.streams', 0, /^\/options\/1\/recipes\/0\/streams must be >= 1$/],
    ['options.1.recipes.0.decodeTokensPerS', 0, /decodeTokensPerS must be > 0$/],
    ['options.1.recipes', [], /^\/options\/1\/recipes must not have fewer than 1 items$/],
    ['options.0', null, /^\/options\/0 needs "kind"/],
    ['options', 7, /^\/options must be array$/],
    ['currency', 'Euro', /^\/currency must match pattern/],
    ['months', 1000, /^\/months must be <= 120$/],
    ['baseline', 'Cloud', /^the baseline "Cloud" is none of: Cloud API; 16-core server \/ f16; /],
    ['options.0.name', '16-core server / w4a8', /^two options have the name "16-core server \/ w4a8"$/],
    ['options.2.designs.0', 'abacus', /^\/options\/2\/designs\/0 /],
    ['options.2.model', 'llama-9', /^\/options\/2\/model /],
    ['options.2.model.heads', 0, /^\/options\/2\/model/],
  ];
  for (const [path, value, message] of cases) {
    let said = '';
    const check = (text: string) => {
      said = text;
      return fail(text);
    };
    assert.throws(() => parseScenario(changed(path, value), check), { code: 'scenario_invalid' }, path);
    assert.match(said, message);
  }
  for (const content of [null, [], 'x', 3, {}]) assert.throws(() => parseScenario(content, fail), NibbleError);
});

test('files that are none have a code', async () => {
  const refused = (path: string, reason: RegExp) =>
    assert.rejects(readScenario(path), (error) => error instanceof NibbleError && reason.test(error.message));
  await refused(join(folder, 'nowhere.json'), /can't be read/);
  await refused(folder, /can't be read/);
  await refused(write('half.json', '{"name": "x'), /not valid JSON/);
  await refused(write('huge.json', ' '.repeat(1024 * 1024 + 1)), /bytes; the limit is/);
  await refused(write('bomb.json', '['.repeat(200_000)), /not valid JSON/);
});

const figures = {
  ...{ name: 'agile', source: 'measured' as const, streams: 2, prefillTokensPerS: 900, decodeTokensPerS: 80 },
  ...{ joulesPerPromptToken: 0.02, joulesPerOutputToken: 0.3 },
};

test('a box with a modelled accelerator: rates and energy are those of the model for whole requests', () => {
  const host = { ...{ price: 1000, lifeMonths: 48, hoursPerMonth: 0, hoursPerBoxMonth: 0 } };
  const none = { hours: 0, price: 0 };
  const figures = (arrays: number, idleWatts: number) => {
    const { workload, ...file } = examples['small-factory'] ?? assert.fail();
    const work = { ...workload, promptTokens: { low: 1, likely: 200, high: 300 }, outputTokens: 30 };
    const option = {
      ...{ kind: 'accelerator' as const, name: 'card', designs: ['tender'], arrays, streams: 4 * arrays, idleWatts },
      ...{ ...host, migration: none, update: none, model: 'llama-2-7b' },
    };
    const [box] = withSimulated({ ...file, workload: work, options: [option] }).options;
    const recipe = box?.kind === 'box' ? box.recipes[0] : undefined;
    const {
      prefillTokensPerS = 0,
      decodeTokensPerS = 0,
      joulesPerPromptToken = 0,
      joulesPerOutputToken = 0,
    } = (recipe as RecipeFigures<number> | undefined) ?? {};
    assert.deepEqual([recipe?.source, recipe?.streams], ['simulated', 4 * arrays]);
    const seconds = 200 / prefillTokensPerS + 30 / decodeTokensPerS;
    return { seconds, joules: 200 * joulesPerPromptToken + 30 * joulesPerOutputToken };
  };
  const shape = publishedModels.find(({ name }) => name === 'llama-2-7b') ?? assert.fail();
  const tender = accelerators.find(({ name }) => name === 'tender') ?? assert.fail();
  const { seconds, energy } = tender.evaluate(requestGemms(shape, { batch: 4, promptTokens: 200, outputTokens: 30 }));
  const near = (got: number, wanted: number) => assert.ok(Math.abs(got / wanted - 1) < 1e-9, `${got}, not ${wanted}`);
  near(figures(1, 0).seconds, seconds / 4);
  near(figures(1, 0).joules, joulesOf(energy) / 4);
  // Two arrays: half the time; a host draws its watts for as long.
  near(figures(2, 50).seconds, seconds / 8);
  near(figures(2, 50).joules, joulesOf(energy) / 4 + (50 * seconds) / 8);
});

test('what was measured takes the place of the figures of this box, and of no other', async () => {
  const path = write('poc.json', { recipes: [figures], other: 'fields' });
  const scenario = withMeasured(example('call-centre'), await readMeasured(path));
  assert.deepEqual(
    choicesOf(scenario).map(({ name }) => name),
    [
      ...['Cloud API', '16-core server / agile'],
      ...['Server with a low-bit accelerator / mixpe-w4a8', 'Server with a low-bit accelerator / tender'],
    ],
  );
  assert.throws(() => checkNames({ ...scenario, baseline: '16-core server / w4a8' }, fail), {
    code: 'scenario_invalid',
  });
  const wrong = write('wrong.json', { recipes: [{ ...figures, decodeTokensPerS: 0 }] });
  await assert.rejects(readMeasured(wrong), { code: 'data_unreadable' });
});

test("the server's price file: means of a day, PUE, and what this machine cost; in the same currency", () => {
  const prices = {
    ...{ currency: 'EUR', tariffPerKwh: 0.4, tariffHours: [{ from: 22, to: 4, perKwh: 0.2 }], carbonGramsPerKwh: 100 },
    ...{ carbonHours: [{ from: 0, to: 12, gramsPerKwh: 300 }], pue: 1.5, hardwarePrice: 900, hardwareYears: 2.5 },
  };
  const { site, options } = withPrices(example('call-centre'), write('prices.json', prices));
  // Six of 24 hours at half the price.
  assert.ok(Math.abs((site.tariffPerKwh as number) - 0.35) < 1e-12);
  assert.deepEqual([site.carbonGramsPerKwh, site.pue], [200, 1.5]);
  const hardware = options.flatMap((option) => (option.kind === 'box' ? [[option.price, option.lifeMonths]] : []));
  assert.deepEqual(hardware, [
    [900, 30],
    [{ low: 4000, likely: 6000, high: 9000 }, 60],
  ]);
  const dollars = write('dollars.json', { ...prices, currency: 'USD' });
  assert.throws(() => withPrices(example('kiosk-fleet'), dollars), { code: 'config_invalid' });
});

test('money has cents where they matter, and no negative zero', () => {
  assert.deepEqual(
    [money(12.345), money(-0.001), money(1234.5), money(-99.999)],
    ['12.35', '0.00', '1,235', '-100.00'],
  );
});
