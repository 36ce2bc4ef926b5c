// Bundles the scheduler's tests for the mutation check, which runs them once for each mutant: in one process, with a
// twentieth of the random command sequences. The check itself, some twenty minutes of one core:
//   npx -p @stryker-mutator/core@10 stryker run tools/mutation.config.json
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const others = ['scheduler-simulation.test.ts', 'scheduler-step-cost.test.ts'];
const names = readdirSync('test/unit').filter(
  (name) => /^scheduler-.*\.test\.ts$/.test(name) && !others.includes(name),
);
const contents = names.map((name) => `import './${name}';`).join('\n');

/** The number of runs, and how often these must reach what they are meant to. */
const changes = [
  ['numRuns: 10_000', 'numRuns: 500'],
  ['count > 1000', 'count > 10'],
];

const fewerRuns = {
  name: 'fewer-runs',
  setup(bundle) {
    bundle.onLoad({ filter: /scheduler-properties\.test\.ts$/ }, ({ path }) => {
      let contents = readFileSync(path, 'utf8');
      for (const [from, to] of changes) {
        if (!contents.includes(from)) throw new Error(`${path}: '${from}' isn't there`);
        contents = contents.replace(from, to);
      }
      return { contents, loader: 'ts' };
    });
  },
};

await build({
  stdin: { contents, resolveDir: resolve('test/unit'), loader: 'ts' },
  outfile: join('build', 'mutation-tests.mjs'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  logLevel: 'warning',
  plugins: [fewerRuns],
});
