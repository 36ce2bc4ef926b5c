// What a new user meets: clones the last commit into a temporary folder, runs the README's two commands, asks for one
// completion, and reports the times. The default model comes from the user's cache, or is downloaded.
// Usage: node tools/check-install.mjs
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const seconds = (from) => `${((performance.now() - from) / 1000).toFixed(1)} s`;

function run(cwd, command, ...args) {
  const started = performance.now();
  const { status, stdout } = spawnSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}\n${stdout}`);
  console.log(`${command} ${args[0]}: ${seconds(started)}`);
  return stdout.trim();
}

/** Starts the server as the README says, but on a free port; resolves with its address when it is ready. */
async function startServer(folder) {
  const child = spawn('npm', ['start', '--', '--port', '0'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /ready on (\S+)/.exec(line);
    if (match !== null) return { child, url: match[1] };
  }
  throw new Error('the server ended before it was ready');
}

async function complete(url) {
  const body = JSON.stringify({ model: 'default', prompt: 'The capital of France is', max_tokens: 8, temperature: 0 });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const text = await response.text();
  if (!response.ok || !text.includes('Paris')) throw new Error(`status ${response.status}: ${text}`);
}

async function main(folder) {
  const clone = join(folder, 'nibble');
  run(root, 'git', 'clone', '--quiet', root, clone);
  run(clone, 'npm', 'install', '--no-audit', '--no-fund');
  const changed = run(clone, 'git', 'status', '--porcelain');
  if (changed !== '') throw new Error(`npm install changed the checkout:\n${changed}`);
  const version = run(join(clone, 'docs'), 'npx', 'nibble', '--version');
  console.log(`npx nibble: version ${version}`);
  const started = performance.now();
  const { child, url } = await startServer(clone);
  console.log(`npm start to ready: ${seconds(started)}`);
  try {
    await complete(url);
    console.log(`npm start to the first answer: ${seconds(started)}`);
  } finally {
    child.kill('SIGTERM');
  }
  // npm passes the signal on and may then end by it; its pipe closes when the server has gone too.
  const [code, signal] = await once(child, 'close');
  if (code !== 0 && signal !== 'SIGTERM') throw new Error(`npm start ended with ${code ?? signal} after SIGTERM`);
}

const folder = mkdtempSync(join(tmpdir(), 'nibble-install-'));
try {
  await main(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
