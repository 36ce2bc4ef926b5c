// Runs before the native build: says plainly what a machine lacks, instead of a page of compiler errors.
import { spawnSync } from 'node:child_process';

const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
const missing = [];
if (!compilers.some(has)) missing.push('a C++20 compiler (Debian/Ubuntu: apt install g++)');
if (!has('cmake')) missing.push('CMake 3.20 or newer (Debian/Ubuntu: apt install cmake)');
if (!has('make') && !has('ninja')) missing.push('make or ninja (Debian/Ubuntu: apt install make)');

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 17)) missing.push(`Node.js 20.17 or newer (this is ${process.versions.node})`);

if (missing.length > 0) {
  console.error(`\nNibble builds its native engine when it is installed. This machine lacks:\n`);
  for (const item of missing) console.error(`  - ${item}`);
  console.error(`\nInstall it, then run "npm install" again.\n`);
  process.exit(1);
}
