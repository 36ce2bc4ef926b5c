// Fuzzers of everything that reads what others have written; nightly, not in CI (which replays their seeds).
// Usage: node tools/fuzz.mjs [gguf | tokenizer | template | requests | grammar | recipe | native …]
//          [--seconds N] [--seed N] [--replay FILE]
//   Default: all but `native`, 60 s each. An input that goes wrong is kept in build/fuzz, and the exit code is 1.
//   native   whole model files loaded by the addon; NIBBLE_ADDON_BUILD=asan (tools/test.mjs --sanitize) finds more
//   --replay one input again, for one target
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'build/fuzz');
const names = ['gguf', 'tokenizer', 'template', 'requests', 'grammar', 'recipe'];
/** A single input takes milliseconds: what adds this much to the time has hung, or the machine is very busy. */
const hangSeconds = 300;

function run(script, args, seconds) {
  const options = { cwd: root, stdio: 'inherit', timeout: 1000 * (seconds + hangSeconds), killSignal: 'SIGKILL' };
  return spawnSync(process.execPath, ['--import', 'tsx', script, ...args], options).status === 0;
}

function fuzz(name, seconds, seed) {
  if (name === 'native') return run('test/support/native-fuzz-main.ts', [String(seconds), String(seed)], seconds);
  const current = join(folder, `${name}.current`);
  if (run('test/fuzz/main.ts', [name, String(seconds), String(seed), current], seconds)) return true;
  if (!existsSync(current)) return false;
  const kept = join(folder, `${name}.${Date.now()}`);
  copyFileSync(current, kept);
  console.error(`${name}: FAILED, or hung. Again: node tools/fuzz.mjs ${name} --replay ${kept}`);
  return false;
}

function main() {
  const text = { type: 'string' };
  const options = { seconds: text, seed: text, replay: text };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const wanted = positionals.length > 0 ? positionals : names;
  const unknown = wanted.find((name) => name !== 'native' && !names.includes(name));
  const seconds = Number(values.seconds ?? 60);
  if (unknown !== undefined || !(seconds > 0)) {
    console.error(`usage: node tools/fuzz.mjs [${[...names, 'native'].join(' | ')} …] [--seconds N] [--seed N]`);
    return 2;
  }
  mkdirSync(folder, { recursive: true });
  if (values.replay !== undefined)
    return run('test/fuzz/main.ts', [wanted[0], 'replay', '0', values.replay], 0) ? 0 : 1;
  const results = wanted.map((name) => fuzz(name, seconds, Number(values.seed ?? 1)));
  return results.every((ok) => ok) ? 0 : 1;
}

process.exit(main());
