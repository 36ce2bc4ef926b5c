// Runs before the native build: says plainly what a machine lacks, instead of a page of compiler errors.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findPrebuilt } from './prebuilt.mjs';

const cmakeNeeded = [3, 20];
const nodeNeeded = [20, 17];

/** The first version number that a command (such as "ccache g++") prints, as [major, minor]; null if there is none. */
function versionOf(commandLine) {
  const [command, ...words] = commandLine.split(' ');
  const { status, stdout } = spawnSync(command, [...words, '--version'], { encoding: 'utf8' });
  if (status !== 0) return null;
  const match = /(\d+)\.(\d+)/.exec(stdout);
  return match === null ? [0, 0] : [Number(match[1]), Number(match[2])];
}

const isOlder = ([major, minor], [neededMajor, neededMinor]) =>
  major < neededMajor || (major === neededMajor && minor < neededMinor);

/** Whether a compiler takes C++20 and finds a standard library: an old one fails here, with a plain message. */
function compilesCxx20(compiler) {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-toolchain-'));
  try {
    const source = join(folder, 'probe.cpp');
    writeFileSync(source, '#include <bit>\n#include <span>\nstatic_assert(std::popcount(3u) == 2);\n');
    const [command, ...words] = compiler.split(' ');
    return spawnSync(command, [...words, '-std=c++20', '-fsyntax-only', source], { stdio: 'ignore' }).status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compilerProblem() {
  // The order in which CMake looks; CXX settles it.
  const candidates = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  const compiler = candidates.find((candidate) => versionOf(candidate) !== null);
  const install = '(Debian, Ubuntu: apt install g++)';
  if (compiler === undefined) {
    const named = process.env.CXX ? `; CXX names ${process.env.CXX}, which isn't one` : '';
    return `a C++20 compiler ${install}${named}`;
  }
  return compilesCxx20(compiler) ? null : `a compiler that knows C++20: ${compiler} doesn't ${install}`;
}

function cmakeProblem() {
  const version = versionOf('cmake');
  if (version !== null && !isOlder(version, cmakeNeeded)) return null;
  const found = version === null ? '' : `; this is ${version.join('.')}`;
  return `CMake ${cmakeNeeded.join('.')} or newer (Debian, Ubuntu: apt install cmake)${found}`;
}

function makeProblem() {
  return versionOf('make') === null && versionOf('ninja') === null
    ? 'make or ninja (Debian, Ubuntu: apt install make)'
    : null;
}

function nodeProblem() {
  const version = process.versions.node.split('.').map(Number);
  return isOlder(version, nodeNeeded)
    ? `Node.js ${nodeNeeded.join('.')} or newer; this is ${process.versions.node}`
    : null;
}

const builds = findPrebuilt() === null;
const problems = builds ? [compilerProblem, cmakeProblem, makeProblem, nodeProblem] : [nodeProblem];
const missing = problems.map((problem) => problem()).filter((problem) => problem !== null);
if (missing.length > 0) {
  const list = missing.map((item) => `  - ${item}`).join('\n');
  console.error(`\nNibble builds its native engine when it is installed. This machine lacks:\n\n${list}\n`);
  console.error('Install it, then run "npm install" again.\n');
  process.exit(1);
}
