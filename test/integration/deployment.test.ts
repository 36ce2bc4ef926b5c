/** What lies in docker/ is right, as far as that can be told without an engine: its own program reads every file. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { readPrices } from '../../src/cli/prices.js';
import { createFakeServer } from '../support/fake-server.js';
import { readSource, root } from '../support/imports.js';
import { ensurePythonEnv } from '../support/python.js';

const run = promisify(execFile);
const inRoot = { cwd: root };

/** Options for `test`, where a program of a Debian package is needed. */
function needs(command: string, name: string): { readonly skip?: string } {
  const isThere = spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined;
  return isThere ? {} : { skip: `needs ${command} (Debian: apt install ${name})` };
}

test('Dockerfile, compose and Kubernetes files fit their linters and schemas', async () => {
  const python = await ensurePythonEnv('requirements-deploy');
  await run(join(dirname(python), 'hadolint'), ['docker/Dockerfile'], inRoot);
  const compose = ['-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec', 'docker/compose.yaml'];
  await run(python, compose, inRoot);
  const manifests = ['-m', 'kubernetes_validate', '--strict', 'docker/kubernetes/nibble.yaml'];
  const { stdout, stderr } = await run(python, manifests, inRoot);
  for (const kind of ['deployment', 'service', 'poddisruptionbudget', 'horizontalpodautoscaler']) {
    assert.match(stdout + stderr, new RegExp(`passed for resource ${kind}/nibble`));
  }
});

test(
  'Prometheus takes its settings, and the rules give what they should',
  needs('promtool', 'prometheus'),
  async () => {
    await run('promtool', ['check', 'config', 'docker/prometheus/prometheus.yml'], inRoot);
    await run('promtool', ['test', 'rules', 'docker/prometheus/rules.test.yml'], inRoot);
  },
);

test('systemd takes the unit, and finds it hardened', needs('systemd-analyze', 'systemd'), async () => {
  const unit = 'docker/systemd/nibble.service';
  const { stdout } = await run('systemd-analyze', ['security', '--offline=true', '--threshold=20', unit], inRoot);
  assert.match(stdout, /Overall exposure level for nibble\.service: [01]\.\d OK/);
});

test('HAProxy takes its settings', needs('haproxy', 'haproxy'), async () => {
  await run('haproxy', ['-c', '-q', '-f', 'docker/haproxy/haproxy.cfg'], inRoot);
});

const names = (text: string, pattern: RegExp): ReadonlySet<string> =>
  new Set([...text.matchAll(pattern)].map(([, name]) => name ?? ''));

test('dashboards, rules and autoscaling ask for series that a server has', async () => {
  const { body } = await createFakeServer().app.inject('/metrics');
  const types = [...body.matchAll(/^# TYPE (\S+) (\w+)$/gm)];
  const series = types.flatMap(([, name = '', type]) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name],
  );
  const rules = readSource('docker/prometheus/rules.yml');
  const dashboard = readSource('docker/grafana/dashboards/nibble.json');
  const recorded = names(rules, /record: (\S+)/g);
  const known = new Set([...series, ...recorded]);
  const manifest = readSource('docker/kubernetes/nibble.yaml').replaceAll(/^.*(image: |# ).*$/gm, '');
  const asked = names([rules, dashboard, manifest].join('\n'), /\b((?:vllm:|nibble[_:]|process_)\w+)/g);
  assert.ok(asked.size > 25);
  assert.deepEqual(
    [...asked].filter((name) => !known.has(name)),
    [],
  );
});

test('expressions of the dashboard are right', needs('promtool', 'prometheus'), async (t) => {
  type Dashboard = { readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[] };
  const { panels } = JSON.parse(readSource('docker/grafana/dashboards/nibble.json')) as Dashboard;
  const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  assert.ok(expressions.length > 20);
  const rules = expressions.map((expression, i) => {
    const filled = expression.replaceAll('$__rate_interval', '1m').replaceAll(/\$\w+/g, '.*');
    return { record: `panel:${i}`, expr: filled };
  });
  const folder = mkdtempSync(join(tmpdir(), 'nibble-dashboard-'));
  t.after(() => rmSync(folder, { recursive: true }));
  // JSON is YAML.
  writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  await run('promtool', ['check', 'rules', join(folder, 'rules.yml')]);
});

test('the prices that containers get are prices', () => {
  assert.equal(readPrices(join(root, 'docker/prices.json')).currency, 'EUR');
});

test('what requests cost is kept where containers and restarts leave it', () => {
  const compose = readSource('docker/compose.yaml');
  const [, ledger = ''] = /^ {4}NIBBLE_LEDGER: (\S+)$/m.exec(compose) ?? [];
  assert.match(compose, new RegExp(`^ {4}- models:${dirname(ledger)}$`, 'm'));
  assert.match(compose, /^volumes:\n {2}models:$/m);
  const unit = readSource('docker/systemd/nibble.service');
  const [, folder] = /^StateDirectory=(\w+)$/m.exec(unit) ?? [];
  assert.match(unit, new RegExp(`NIBBLE_LEDGER=/var/lib/${folder}/`));
});

test('the image has what the program needs besides its bundle, and runs it without a shell', () => {
  const dockerfile = readSource('docker/Dockerfile');
  for (const path of ['node_modules', 'dist', 'build/release/Release/nibble.node']) {
    assert.match(dockerfile, new RegExp(`COPY --from=build /app/${path} `));
  }
  assert.match(dockerfile, /^ENTRYPOINT \["node", /m);
  assert.match(dockerfile, /^USER 1000$/m);
  // Packages that are found at run time have to be there in production.
  const manifest = JSON.parse(readSource('package.json')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const external = names(readSource('tools/build-ts.mjs'), /external: \['([^']+)'/g);
  const resolved = names(readSource('src/grammar/xgrammar.ts'), /import\.meta\.resolve\('([^']+)'\)/g);
  assert.ok(resolved.size > 0);
  for (const name of [...external, ...resolved]) assert.ok(name in manifest.dependencies, name);
});
