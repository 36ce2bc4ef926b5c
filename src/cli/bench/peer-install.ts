/** Puts a peer engine into Nibble's cache folder: something to measure against, never a dependency. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { NibbleError } from '../../errors.js';
import { modelsFolder } from '../../model/sources/cache.js';

export const PEER = 'node-llama-cpp';
const PEER_VERSION = '3.22.1';

/** A slow network fetches 90 MB within this, ms. */
const INSTALL_MS_MAX = 15 * 60_000;

/** The peer's package of native builds for a CPU without a GPU; null where it has none. */
export function cpuPackage(platform: string, arch: string): string | null {
  return platform === 'linux' && (arch === 'x64' || arch === 'arm64') ? `@node-llama-cpp/linux-${arch}` : null;
}

const failed = (message: string, cause?: unknown) => new NibbleError('peer_failed', { peer: PEER, message }, { cause });

/**
 * The URL of the peer's entry module, installed on first use with the user's own npm and its settings. Its GPU builds
 * (700 MB) are optional dependencies and left out; the CPU build is asked for by name.
 * Throws `peer_failed`.
 */
export async function installPeer(options: { readonly home: string | null; readonly offline: boolean }): Promise<URL> {
  const peers = path.join(path.dirname(modelsFolder(options.home, process.env)), 'peers');
  const folder = path.join(peers, `${PEER}-${PEER_VERSION}`);
  const entry = path.join(folder, 'node_modules', PEER, 'dist', 'index.js');
  if (existsSync(entry)) return pathToFileURL(entry);
  const native = cpuPackage(process.platform, process.arch);
  if (native === null) throw failed(`has no CPU build for ${process.platform} ${process.arch}`);
  if (options.offline) throw failed('is not in the cache, and --offline forbids fetching it');
  process.stderr.write(`installing ${PEER} ${PEER_VERSION} into ${folder} …\n`);
  await mkdir(peers, { recursive: true });
  const temporary = await mkdtemp(path.join(peers, 'install-'));
  try {
    await writeFile(path.join(temporary, 'package.json'), '{"private":true}\n');
    const wanted = [`${PEER}@${PEER_VERSION}`, `${native}@${PEER_VERSION}`];
    const flags = ['install', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
    await promisify(execFile)('npm', [...flags, ...wanted], { cwd: temporary, timeout: INSTALL_MS_MAX });
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (cause) {
    // Another process may have finished first.
    if (!existsSync(entry)) throw failed(`could not be installed: ${lastLine(cause)}`, cause);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return pathToFileURL(entry);
}

function lastLine(cause: unknown): string {
  const text = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : String(cause);
  return text.trim().split('\n').at(-1) ?? '';
}
