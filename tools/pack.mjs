// Makes what a release consists of, in build/packages: the package of the program, that of this platform's addon,
// and the list of everything that the program is made of (SBOM, CycloneDX).
// Usage: npm run build:native && npm run build:ts && node tools/pack.mjs
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonPath } from './build-native.mjs';
import { packageName } from './prebuilt.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build/packages');

function npm(cwd, ...args) {
  const { status, stdout } = spawnSync('npm', args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (status !== 0) throw new Error(`npm ${args[0]} ended with ${status}\n${stdout}`);
  return stdout.trim();
}

/** Returns the path of the package made of a folder. */
const pack = (folder) =>
  join(out, npm(folder, 'pack', '--ignore-scripts', '--silent', '--pack-destination', out).split('\n').at(-1));

function packAddon({ version, license }) {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-pack-'));
  try {
    const { platform, arch } = process;
    const description = `The native engine of Nibble ${version} for ${platform} on ${arch}, built beforehand.`;
    const libc = platform === 'linux' ? { libc: ['glibc'] } : {};
    const files = ['nibble.node', 'LICENSE'];
    const manifest = { name: packageName, version, description, license, os: [platform], cpu: [arch], ...libc, files };
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2));
    copyFileSync(addonPath('release'), join(folder, 'nibble.node'));
    copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
    return pack(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Returns the paths of the two packages. */
export function makePackages() {
  for (const needed of [addonPath('release'), join(root, 'dist/cli/main.js')]) {
    if (!existsSync(needed)) throw new Error(`${needed} is missing: build first`);
  }
  mkdirSync(out, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const sbom = npm(root, 'sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev', '--package-lock-only');
  writeFileSync(join(out, 'sbom.cdx.json'), `${sbom}\n`);
  return { program: pack(root), addon: packAddon(manifest) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(Object.values(makePackages()).join('\n'));
