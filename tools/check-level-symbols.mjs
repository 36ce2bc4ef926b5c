// Fails if an object file of an instruction-set level exports anything but its table (the function named like the file)
// or holds a weak symbol: the
// linker keeps one copy of a shared inline function, and if that is the AVX-512 one, older CPUs die of SIGILL.
// Usage: node tools/check-level-symbols.mjs <build folder> [nm command]
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

const levels = ['avx2', 'avxvnni', 'avx512', 'neon'];
const [buildFolder, nm = 'nm'] = process.argv.slice(2);
if (buildFolder === undefined) {
  console.error('usage: node tools/check-level-symbols.mjs <build folder> [nm command]');
  process.exit(2);
}

/** Object files under CMakeFiles/nibble_<level>.dir. */
function objectsOf(level) {
  const folder = join(buildFolder, 'CMakeFiles', `nibble_${level}.dir`);
  try {
    return readdirSync(folder, { recursive: true })
      .filter((name) => /\.(o|obj)$/.test(name))
      .map((name) => join(folder, name));
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Symbols that the linker may see: upper-case types but undefined ones, and weak or unique ones of either case. */
function exportedSymbols(object) {
  const lines = execFileSync(nm, ['--demangle', '--format=posix', object], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    // The shortest name: a size such as `c` also looks like a type.
    const match = /^(.*?) ([A-Za-z])(?: [0-9a-f]+){0,2}\s*$/.exec(line);
    if (match === null) return [];
    const [, name, type] = match;
    const visible = (type !== 'U' && type === type.toUpperCase()) || type === 'v' || type === 'w' || type === 'u';
    return visible ? [{ name, type }] : [];
  });
}

let objectCount = 0;
let failureCount = 0;
for (const level of levels) {
  for (const object of objectsOf(level)) {
    objectCount++;
    const symbols = exportedSymbols(object);
    const allowed = `nibble::kernels::${level}::${basename(object).split('.', 1)[0]}()`;
    const wrong = symbols.filter(({ name, type }) => name !== allowed || type !== 'T');
    for (const { name, type } of wrong) console.error(`${object}: exports ${type} ${name}`);
    failureCount += wrong.length;
    if (!symbols.some(({ name }) => name === allowed)) {
      console.error(`${object}: doesn't export ${allowed}`);
      failureCount++;
    }
  }
}
if (objectCount === 0) {
  console.error(`${buildFolder}: no object file of any level`);
  failureCount++;
}
if (failureCount > 0) process.exit(1);
console.log(`${objectCount} level objects, each exports its table alone`);
