/** How tests start `nibble` as a process of its own. */
import { fileURLToPath } from 'node:url';

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/**
 * The arguments of Node that stand before those of `nibble`. `tools/test.mjs` compiles the program before it runs tests
 * and says so; a start from the sources takes a second of a core more. Without it `dist` may be older than the sources.
 */
export const program: readonly string[] =
  process.env.NIBBLE_TEST_COMPILED === '1' ? [path('dist/cli/main.js')] : ['--import', 'tsx', path('src/cli/main.ts')];
