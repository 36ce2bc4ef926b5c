// Bundles the scheduler's tests for the mutation check, which runs them once for each mutant: in one process, with a
// twentieth of the random command sequences. The check itself, some twenty minutes of one core:
//   npx -p @stryker-mutator/core@9 stryker run tools/mutation.config.json
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const others = ['scheduler-simulation.test.ts', 'scheduler-step-cost.test.ts'];
const names = readdirSync('test/unit').filter(
  (name) => /^scheduler-.*\.test\.ts$/.test(name) && !others.includes(name),
);
const contents = names.map((name) => `import './${name}';`).join('\n');

await build({
  stdin: { contents, resolveDir: resolve('test/unit'), loader: 'ts' },
  outfile: join('build', 'mutation-tests.mjs'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  logLevel: 'warning',
});
