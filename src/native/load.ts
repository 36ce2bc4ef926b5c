import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type Addon, CONTRACT_VERSION } from './contract.js';

let addon: Addon | undefined;

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
 * Loads the addon once. Throws an Error that says how to build it when it is missing or stale.
 */
export function loadAddon(): Addon {
  if (addon !== undefined) return addon;
  const path = addonPath();
  let loaded: Addon;
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new Error(`The native addon could not be loaded from ${path}. Build it with "npm run build:native".`, {
      cause,
    });
  }
  if (loaded.contractVersion !== CONTRACT_VERSION) {
    throw new Error(
      `The native addon is stale (contract ${loaded.contractVersion}, need ${CONTRACT_VERSION}). Run "npm run build:native".`,
    );
  }
  addon = loaded;
  return loaded;
}
