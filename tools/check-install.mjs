// What a new user meets: clones the last commit into a temporary folder, runs the README's two commands, asks for one
// completion, and reports the times. The default model comes from the user's cache, or is downloaded.
// Usage: node tools/check-install.mjs [--packed | --tutorial]
//   --packed  installs the packages of a release (tools/pack.mjs) into an empty folder instead, and compiles nothing
//   --tutorial  then goes through docs/tutorial.md, as far as it needs no Docker, and reports the time of each block
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { makePackages } from './pack.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const seconds = (from) => `${((performance.now() - from) / 1000).toFixed(1)} s`;

function run(cwd, command, ...args) {
  const started = performance.now();
  const { status, stdout } = spawnSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}\n${stdout}`);
  console.log(`${command} ${args[0]}: ${seconds(started)}`);
  return stdout.trim();
}

/** Starts the server on a free port by a command of npm; resolves with its address when it is ready. */
async function startServer(folder, command) {
  const [name, ...args] = [...command, '--port', '0'];
  const child = spawn(name, args, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /ready on (\S+)/.exec(line);
    if (match !== null) return { child, url: match[1] };
  }
  throw new Error('the server ended before it was ready');
}

async function complete(url, more, expected) {
  const request = { model: 'default', prompt: 'The capital of France is', max_tokens: 8, temperature: 0, ...more };
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify(request);
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const text = await response.text();
  if (!response.ok || !expected.test(text)) throw new Error(`status ${response.status}: ${text}`);
}

/** Serves in an installed folder, asks, and stops. */
async function tryServer(folder, command) {
  const started = performance.now();
  const { child, url } = await startServer(folder, command);
  console.log(`${command.join(' ')} to ready: ${seconds(started)}`);
  try {
    await complete(url, {}, /Paris/);
    console.log(`${command.join(' ')} to the first answer: ${seconds(started)}`);
    // What is loaded only when it is asked for: the grammar engine, and the page.
    await complete(url, { guided_choice: ['London', 'Paris'] }, /"text":"(London|Paris)"/);
    const page = await fetch(url);
    if (!page.ok || !(await page.text()).includes('<script>')) throw new Error(`the page: status ${page.status}`);
  } finally {
    child.kill('SIGTERM');
  }
  // npm passes the signal on and may then end by it; its pipe closes when the server has gone too.
  const [code, signal] = await once(child, 'close');
  if (code !== 0 && signal !== 'SIGTERM') throw new Error(`the server ended with ${code ?? signal} after SIGTERM`);
}

async function checkClone(folder) {
  const clone = join(folder, 'nibble');
  run(root, 'git', 'clone', '--quiet', root, clone);
  run(clone, 'npm', 'install', '--no-audit', '--no-fund');
  const changed = run(clone, 'git', 'status', '--porcelain');
  if (changed !== '') throw new Error(`npm install changed the checkout:\n${changed}`);
  const version = run(join(clone, 'docs'), 'npx', 'nibble', '--version');
  console.log(`npx nibble: version ${version}`);
  await tryServer(clone, ['npm', 'start', '--']);
  if (process.argv.includes('--tutorial')) walkTutorial(clone);
}

/** "In a second terminal": a server goes on in the background, and the next line waits until it is ready. */
const secondTerminal = `
npx() {
  if [ "$2" != serve ]; then command npx "$@"; return; fi
  node dist/cli/main.js "\${@:2}" &
  until curl -sf http://127.0.0.1:8080/ready > /dev/null; do sleep 0.05; done
}
now() { date +%s%3N; }
trap 'kill $(jobs -p)' EXIT
`;

/** Types the tutorial's blocks into one shell. */
function walkTutorial(clone) {
  const page = readFileSync(join(clone, 'docs/tutorial.md'), 'utf8');
  const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text]) => text);
  const started = performance.now();
  const timed = blocks.map((text, i) => {
    const [first] = text.split('\n');
    return `since=$(now)\n${text}\necho "BLOCK ${i + 1} took $(($(now) - since)) ms: "'${first.replaceAll("'", '')}'`;
  });
  const output = run(clone, 'bash', '-euo', 'pipefail', '-c', secondTerminal + timed.join('\n'));
  for (const [line] of output.matchAll(/^BLOCK .*$/gm)) console.log(line);
  console.log(`the tutorial: ${seconds(started)}`);
}

async function checkPackages(folder) {
  const { program, addon } = makePackages();
  // Whatever would compile must not be found.
  const env = { ...process.env, CXX: 'no-compiler-is-needed' };
  const options = ['--no-audit', '--no-fund', '--omit', 'dev'];
  const installed = spawnSync('npm', ['install', '--prefix', folder, ...options, program, addon], {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (installed.status !== 0) throw new Error(`npm install ended with ${installed.status}`);
  // What npx runs, which itself keeps SIGTERM to itself.
  await tryServer(folder, ['node_modules/.bin/nibble', 'serve']);
}

const folder = mkdtempSync(join(tmpdir(), 'nibble-install-'));
try {
  await (process.argv.includes('--packed') ? checkPackages(folder) : checkClone(folder));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
