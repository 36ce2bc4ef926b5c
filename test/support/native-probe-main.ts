/**
 * Child process of tests. `native-probe-main.ts FILE …` prints one line of JSON before and after each file;
 * with `--cut-after MS` it loads a copy of each, and cuts that copy short so long after loading has begun.
 */
import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadNativeModel } from '../../src/engine/open.js';
import { NibbleError } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import { probeFile } from './native-probe.js';

/** Enough for the header of any model and part of its weights. */
const CUT_BYTES = 5_000_000;

const say = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`);

async function cutWhileLoading(original: string, afterMs: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-cut-'));
  let timer: NodeJS.Timeout | undefined;
  try {
    // Only ever a copy: the original may be shared with others.
    const path = join(folder, 'copy.gguf');
    copyFileSync(original, path);
    const file = await readModelFile(path);
    const sizes = { contextTokensMax: 128, kvBlockCount: 8, slotCount: 1 };
    const loading = loadNativeModel(file, { threads: 2, activations: 'a8', kv: 'f16', ...sizes });
    if (afterMs === 0) truncateSync(path, CUT_BYTES);
    else timer = setTimeout(() => truncateSync(path, CUT_BYTES), afterMs);
    await (await loading).close();
    return 'loaded';
  } catch (error) {
    if (error instanceof NibbleError) return error.code;
    throw error;
  } finally {
    clearTimeout(timer);
    rmSync(folder, { recursive: true });
  }
}

const { values, positionals } = parseArgs({ options: { 'cut-after': { type: 'string' } }, allowPositionals: true });
for (const path of positionals) {
  say({ begin: path });
  const cut = values['cut-after'];
  say({ path, outcome: cut === undefined ? await probeFile(path) : await cutWhileLoading(path, Number(cut)) });
}
