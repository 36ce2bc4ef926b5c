import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { configInvalid, messageOf, NibbleError } from '../errors.js';
import { type Addon, CONTRACT_VERSION, type IsaLevel } from './contract.js';

let addon: Addon | undefined;

const levels: Readonly<Record<IsaLevel, true>> = { scalar: true, avx2: true, avxvnni: true, avx512: true, neon: true };

/**
 * The addon's file. `NIBBLE_ADDON_BUILD` (release, debug, asan, tsan) names the build folder; release by default. Where
 * nothing was built it is that of a package for this platform, if one is installed (tools/prebuilt.mjs).
 */
export function addonPath(): string {
  const build = process.env.NIBBLE_ADDON_BUILD ?? 'release';
  const built = fileURLToPath(new URL(`../../build/${build}/Release/nibble.node`, import.meta.url));
  if (existsSync(built)) return built;
  try {
    return createRequire(import.meta.url).resolve(`nibble-${process.platform}-${process.arch}/nibble.node`);
  } catch {
    return built;
  }
}

/**
 * Loads the addon once. Throws `addon_unusable` when it is missing or stale, `config_invalid` for a NIBBLE_ISA that
 * names no level.
 */
export function loadAddon(): Addon {
  if (addon !== undefined) return addon;
  const path = addonPath();
  let loaded: Addon;
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    const message = existsSync(path) ? `can't be loaded (${messageOf(cause)})` : 'is missing';
    throw new NibbleError('addon_unusable', { path, message }, { cause });
  }
  if (loaded.contractVersion !== CONTRACT_VERSION) {
    const message = `is of another version (contract ${loaded.contractVersion}, need ${CONTRACT_VERSION})`;
    throw new NibbleError('addon_unusable', { path, message });
  }
  const level = process.env.NIBBLE_ISA;
  if (level && !Object.hasOwn(levels, level)) {
    throw configInvalid('NIBBLE_ISA', `must be one of ${Object.keys(levels).join(', ')}`);
  }
  addon = loaded;
  return loaded;
}
