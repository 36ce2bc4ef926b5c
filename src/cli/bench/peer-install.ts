/** Puts peer engines into Nibble's cache folder: something to measure against, never a dependency. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { NibbleError } from '../../errors.js';
import { modelsFolder } from '../../model/sources/cache.js';
import { packageRoot } from '../output.js';
import type { PeerProgram } from './peer-connection.js';

/** Peers that are installed by name: npm's and Python's packages of llama.cpp. */
export const peerNames = ['node-llama-cpp', 'xllamacpp'] as const;
export type PeerName = (typeof peerNames)[number];

export const peerVersions: Readonly<Record<PeerName, string>> = {
  'node-llama-cpp': '3.22.1',
  xllamacpp: '2026.10.11549',
};

/** A slow network fetches 90 MB within this, ms. */
const INSTALL_MS_MAX = 15 * 60_000;

type InstallOptions = { readonly home: string | null; readonly offline: boolean };

/** node-llama-cpp's package of native builds for a CPU without a GPU; null where it has none. */
export function cpuPackage(platform: string, arch: string): string | null {
  return platform === 'linux' && (arch === 'x64' || arch === 'arm64') ? `@node-llama-cpp/linux-${arch}` : null;
}

const failed = (peer: PeerName, message: string, cause?: unknown) =>
  new NibbleError('peer_failed', { peer, message }, { cause });

/**
 * The folder of a peer, made by `fill` on first use. It appears under its name only when complete, so two processes may
 * ask for it at the same time. Throws `peer_failed`.
 */
async function peerFolder(
  peer: PeerName,
  options: InstallOptions,
  fill: (folder: string) => Promise<void>,
): Promise<string> {
  const peers = path.join(path.dirname(modelsFolder(options.home, process.env)), 'peers');
  const folder = path.join(peers, `${peer}-${peerVersions[peer]}`);
  if (existsSync(folder)) return folder;
  if (options.offline) throw failed(peer, 'is not in the cache, and --offline forbids fetching it');
  process.stderr.write(`installing ${peer} ${peerVersions[peer]} into ${folder} …\n`);
  await mkdir(peers, { recursive: true });
  const temporary = await mkdtemp(path.join(peers, 'install-'));
  try {
    await fill(temporary);
    await rename(temporary, folder);
  } catch (cause) {
    // Another process may have finished first.
    if (!existsSync(folder)) throw failed(peer, `could not be installed: ${lastLine(cause)}`, cause);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return folder;
}

const run = (command: string, args: readonly string[], cwd: string) =>
  promisify(execFile)(command, args, { cwd, timeout: INSTALL_MS_MAX });

/** The user's own npm and its settings. The GPU builds (700 MB) are optional dependencies and left out. */
async function installNode(options: InstallOptions): Promise<string> {
  const peer = 'node-llama-cpp';
  const native = cpuPackage(process.platform, process.arch);
  if (native === null) throw failed(peer, `has no CPU build for ${process.platform} ${process.arch}`);
  return peerFolder(peer, options, async (folder) => {
    await writeFile(path.join(folder, 'package.json'), '{"private":true}\n');
    const wanted = [`${peer}@${peerVersions[peer]}`, `${native}@${peerVersions[peer]}`];
    const flags = ['install', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
    await run('npm', [...flags, ...wanted], folder);
  });
}

/** A virtual environment. Returns its interpreter. */
export async function installPython(options: InstallOptions): Promise<string> {
  const peer = 'xllamacpp';
  const folder = await peerFolder(peer, options, async (draft) => {
    await run('python3', ['-m', 'venv', draft], draft);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input'];
    await run(path.join(draft, 'bin', 'python'), [...pip, `${peer}==${peerVersions[peer]}`, 'numpy'], draft);
  });
  return path.join(folder, 'bin', 'python');
}

/** A script of tools/reference. */
export const referenceScript = (name: string): string => path.join(packageRoot, 'tools', 'reference', name);

/** How to start a peer: one of `peerNames`, installed on first use, or a program. Throws `peer_failed`. */
export async function peerProgram(peer: string, options: InstallOptions): Promise<PeerProgram> {
  const name = peerNames.find((known) => known === peer);
  if (name === undefined) return { name: path.basename(peer), command: path.resolve(peer), args: [], batches: true };
  if (name === 'xllamacpp') {
    const command = await installPython(options);
    return { name, command, args: [referenceScript('llama_bench.py')], batches: true };
  }
  const entry = pathToFileURL(path.join(await installNode(options), 'node_modules', name, 'dist', 'index.js'));
  // The compiled name in dist, the source's under a TypeScript loader.
  const main = fileURLToPath(new URL(`./peer-node${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));
  return { name, command: process.execPath, args: [...process.execArgv, main, entry.href], batches: false };
}

function lastLine(cause: unknown): string {
  const text = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : String(cause);
  return text.trim().split('\n').at(-1) ?? '';
}
