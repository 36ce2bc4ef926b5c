// Builds nibble_check as the addon isn't built here, and runs it: levels that this CPU lacks, and sanitizers.
//   simde-avx512, simde-neon   a level's kernels, emulated on AVX2 by SIMDe
//   aarch64                    cross-built for ARM, run by qemu-user
//   asan                       this host's levels under AddressSanitizer and UndefinedBehaviorSanitizer
//   tsan                       under ThreadSanitizer
// Usage: node tools/native-check.mjs [kind …]   (default: all). Builds are kept in build/check-<kind>.
// Exit code: 0 all passed, 1 one failed, 3 one can't be had on this machine (and none failed).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const passed = 0;
const failed = 1;
const unavailable = 3;

/** Whether a command exists and answers. */
function has(command, ...args) {
  return spawnSync(command, args.length > 0 ? args : ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The folder that holds simde/: the system's, else Debian's package unpacked into the cache; null if neither. */
function findSimde() {
  if (existsSync('/usr/include/simde/x86/avx512.h')) return '/usr/include';
  const cache = process.env.NIBBLE_HOME || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'nibble');
  const kept = join(cache, 'simde');
  if (!existsSync(kept)) {
    mkdirSync(cache, { recursive: true });
    const draft = mkdtempSync(join(cache, 'simde-'));
    try {
      const download = spawnSync('apt-get', ['download', 'libsimde-dev'], { cwd: draft, stdio: 'ignore' });
      const archive = readdirSync(draft).find((name) => name.endsWith('.deb'));
      if (download.status !== 0 || archive === undefined) return null;
      if (spawnSync('dpkg', ['-x', archive, 'root'], { cwd: draft, stdio: 'ignore' }).status !== 0) return null;
      renameSync(join(draft, 'root'), kept);
    } catch {
      if (!existsSync(kept)) return null; // else another process was faster
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  return join(kept, 'usr', 'include');
}

function x86HasAvx2() {
  return process.arch === 'x64' && existsSync('/proc/cpuinfo') && / avx2\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
}

const cross = ['aarch64-linux-gnu-g++', 'qemu-aarch64-static'];

/** What it takes: CMake options, how to run the program, levels that must run; or the reason why it can't be had. */
const kinds = {
  'simde-avx512': () => emulated('avx512'),
  'simde-neon': () => emulated('neon'),
  aarch64: () => {
    const missing = cross.find((command) => !has(command));
    if (missing !== undefined) {
      return { reason: `it needs ${missing}: apt-get install g++-aarch64-linux-gnu qemu-user-static` };
    }
    const toolchain = join(root, 'native', 'cmake', 'aarch64-linux-gnu.cmake');
    const runner = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'];
    return { options: [`-DCMAKE_TOOLCHAIN_FILE=${toolchain}`], runner, levels: ['neon'] };
  },
  asan: () => sanitized('address'),
  tsan: () => sanitized('thread'),
};

function emulated(level) {
  if (!x86HasAvx2()) return { reason: 'it needs an x86-64 CPU with AVX2' };
  const headers = findSimde();
  if (headers === null) return { reason: 'it needs SIMDe: apt-get install libsimde-dev' };
  return { options: [`-DNIBBLE_SIMDE=${headers}`, `-DNIBBLE_SIMDE_LEVEL=${level}`], levels: [level] };
}

/** A compiler may lack a sanitizer's library: linking an empty program tells. */
function sanitized(sanitizer) {
  const compiler = process.env.CXX || 'c++';
  const arguments_ = ['-x', 'c++', '-', `-fsanitize=${sanitizer}`, '-o', '/dev/null'];
  if (spawnSync(compiler, arguments_, { input: 'int main() {}', stdio: ['pipe', 'ignore', 'ignore'] }).status !== 0) {
    return { reason: `${compiler} has no ${sanitizer} sanitizer` };
  }
  return { options: [`-DNIBBLE_SANITIZE=${sanitizer}`], levels: [] };
}

function check(kind) {
  const plan = has('cmake') ? kinds[kind]() : { reason: 'it needs cmake' };
  if (plan.reason !== undefined) {
    console.log(`${kind}: can't be had here: ${plan.reason}`);
    return unavailable;
  }
  const folder = join(root, 'build', `check-${kind}`);
  const run = (command, args, env = {}) =>
    spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status === 0;
  const configure = ['-S', join(root, 'native'), '-B', folder, '-DNIBBLE_ADDON=OFF', '-DNIBBLE_CHECK=ON'];
  const build = ['--build', folder, '--target', 'nibble_check', '-j', String(availableParallelism())];
  if (!run('cmake', [...configure, ...plan.options, '--log-level=WARNING']) || !run('cmake', build)) {
    console.log(`${kind}: the build failed`);
    return failed;
  }
  const [command, ...args] = [...(plan.runner ?? []), join(folder, 'nibble_check')];
  const levels = plan.levels.length > 0 ? { NIBBLE_EXPECT_LEVELS: plan.levels.join(',') } : {};
  const ok = run(command, args, { TSAN_OPTIONS: 'halt_on_error=1', ...levels });
  console.log(`${kind}: ${ok ? 'passed' : 'FAILED'}`);
  return ok ? passed : failed;
}

function main(wanted) {
  const unknown = wanted.find((kind) => !Object.hasOwn(kinds, kind));
  if (unknown !== undefined) {
    console.error(`usage: node tools/native-check.mjs [${Object.keys(kinds).join(' | ')}] …`);
    return 2;
  }
  const results = (wanted.length > 0 ? wanted : Object.keys(kinds)).map(check);
  return results.includes(failed) ? failed : Math.max(...results);
}

process.exit(main(process.argv.slice(2)));
