/** Other people's routers before replicas: HAProxy by docker/haproxy/haproxy.cfg, and vllm-router from PyPI. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answers, freePort, type Replica } from './fleet.js';
import { readSource } from './imports.js';
import { ensurePythonEnv } from './python.js';

export const needsHaproxy: { readonly skip?: string } =
  spawnSync('haproxy', ['-v'], { stdio: 'ignore' }).status === 0 ? {} : { skip: 'needs haproxy (apt install haproxy)' };

export type Router = { readonly url: string; end(): void };

/** By the project's own settings, with these replicas instead of those that Docker's names lead to. */
export async function startHaproxy(replicas: readonly Replica[]): Promise<Router> {
  const port = await freePort();
  const servers = replicas.map(({ url }, i) => `  server replica${i} ${new URL(url).host}`).join('\n');
  const settings = readSource('docker/haproxy/haproxy.cfg')
    .replace(/^ {2}server-template .*$/m, servers)
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    .replace(/^ {2}log stdout .*$/m, '');
  assert.match(settings, /server replica0 /);
  const folder = mkdtempSync(join(tmpdir(), 'nibble-haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, settings);
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/router`);
  rmSync(folder, { recursive: true });
  return { url, end: () => void child.kill('SIGKILL') };
}

export type VllmPolicy = 'round_robin' | 'cache_aware' | 'kv_aware';

/**
 * What makes it take a replica out and in again within a second or so, and try a request again until it has. The same
 * are in docs/deployment.md.
 */
const vllmRouterFlags: readonly string[] = (
  '--health-check-endpoint /ready --health-check-interval-secs 1 --health-check-timeout-secs 1 ' +
  '--health-failure-threshold 1 --health-success-threshold 1 --cb-timeout-duration-secs 2'
).split(' ');

export async function startVllmRouter(
  replicas: readonly { readonly url: string }[],
  policy: VllmPolicy,
  more: readonly string[] = [],
): Promise<Router> {
  const [port, metricsPort] = [await freePort(), await freePort()];
  const python = await ensurePythonEnv('requirements-router');
  const address = ['--host', '127.0.0.1', '--port', String(port), '--prometheus-port', String(metricsPort)];
  const workers = ['--worker-urls', ...replicas.map(({ url }) => url), '--policy', policy];
  const args = ['-m', 'vllm_router.launch_router', ...address, ...workers, ...vllmRouterFlags, ...more];
  const child: ChildProcess = spawn(python, args, { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/health`);
  return { url, end: () => void child.kill('SIGKILL') };
}
