// The addon as a package of its own, built elsewhere for this platform: where it is installed beside Nibble, nothing
// has to be compiled. One that was built from other sources has another version and isn't taken.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** `linux-x64`, as src/native/load.ts has it; for glibc alone, which the package's manifest says. */
export const platform = `${process.platform}-${process.arch}`;
export const packageName = `nibble-${platform}`;

/** The addon's file in an installed package of the same version as this one; null if there is none. */
export function findPrebuilt() {
  const require = createRequire(import.meta.url);
  try {
    const { version } = require('../package.json');
    const manifest = require.resolve(`${packageName}/package.json`);
    if (JSON.parse(readFileSync(manifest, 'utf8')).version !== version) return null;
    return require.resolve(`${packageName}/nibble.node`);
  } catch {
    return null;
  }
}
