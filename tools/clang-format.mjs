// Formats the native sources that git knows; with --check only compares.
// Versions of clang-format differ in their results, so one is pinned: the one of Debian 12, or the same from PyPI.
// Usage: node tools/clang-format.mjs [--check]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const version = '14.0.6';
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'build', 'tools', `clang-format-${version}`);

function isPinned(command) {
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return status === 0 && stdout.includes(`version ${version}`);
}

/** A clang-format of the pinned version, installed below build/ if the machine has none; null if that fails. */
function findClangFormat() {
  const local = join(folder, 'clang_format', 'data', 'bin', 'clang-format');
  const found = ['clang-format', 'clang-format-14', local].find(isPinned);
  if (found !== undefined) return found;
  const pip = ['-m', 'pip', 'install', '--quiet', '--no-input', '--target', folder, `clang-format==${version}`];
  const { status } = spawnSync('python3', pip, { stdio: ['ignore', 'ignore', 'inherit'] });
  return status === 0 && isPinned(local) ? local : null;
}

/** Native sources that are tracked or new, without those that git ignores or that have been deleted. */
function sources() {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '--', 'native/*.cpp', 'native/*.h'];
  const { status, stdout } = spawnSync('git', list, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error('git ls-files failed: this has to run in a checkout');
  return stdout.split('\0').filter((name) => name !== '' && existsSync(join(root, name)));
}

function main(flags) {
  const isCheck = flags[0] === '--check';
  if (flags.length > (isCheck ? 1 : 0)) {
    console.error('usage: node tools/clang-format.mjs [--check]');
    return 2;
  }
  const clangFormat = findClangFormat();
  if (clangFormat === null) {
    const isNeeded = !isCheck || process.env.CI === 'true';
    const what = `clang-format ${version} is neither installed nor to be had from PyPI`;
    console.error(`${what} (Debian 12: apt install clang-format)${isNeeded ? '' : '; native sources go unchecked'}`);
    return isNeeded ? 1 : 0;
  }
  const options = isCheck ? ['--dry-run', '--Werror'] : ['-i'];
  return spawnSync(clangFormat, [...options, ...sources()], { cwd: root, stdio: 'inherit' }).status ?? 1;
}

process.exit(main(process.argv.slice(2)));
