/** Quantizing in tests: small models, no network, no progress. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModel } from '../../src/engine/open.js';
import { type OnProgress, type OpenSource, type Quantized, quantize } from '../../src/quant/quantize.js';
import { resolveRecipe } from '../../src/quant/recipe.js';
import { NativeKit } from './native-kit.js';
import { prefill, randomTokens } from './native-logits.js';

export const opener =
  (model: string): OpenSource =>
  ({ activations, sequences, tokens, model: other }) =>
    openModel({
      ...{
        model: other ?? model,
        threads: 2,
        activations,
        kv: 'f16',
        contextTokens: tokens,
        kvTokens: sequences * (tokens + 16),
      },
      ...{ maxSequences: sequences, maxWaiting: 64, maxWaitingTokens: 65_536, queueSeconds: 300, itlTarget: 1000 },
      ...{ speculate: 'off', packCacheBytes: 0, offline: true, home: null },
    });

export type Run = {
  readonly recipe: string;
  readonly set?: readonly string[];
  readonly calibration?: string;
  readonly resume?: boolean;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
};

export class QuantizeKit {
  private constructor(readonly folder: string) {}

  static async create(): Promise<QuantizeKit> {
    return new QuantizeKit(await mkdtemp(join(tmpdir(), 'nibble-quantize-')));
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  bytes(name: string): Promise<Buffer> {
    return readFile(this.path(name));
  }

  async write(name: string, content: string | Uint8Array): Promise<string> {
    await writeFile(this.path(name), content);
    return this.path(name);
  }

  /** Quantizes `model` to `out`, both names in the folder. */
  async run(model: string, out: string, run: Run): Promise<Quantized> {
    const path = this.path(model);
    return quantize({
      ...{ model: path, out: this.path(out), calibration: run.calibration ?? null, resume: run.resume === true },
      ...{ recipe: await resolveRecipe(run.recipe, run.set), open: opener(path), toolVersion: '1.2.3' },
      onProgress: run.onProgress ?? (() => undefined),
      signal: run.signal ?? new AbortController().signal,
    });
  }
}

/** Logits of four positions of one random prompt, with the activations of the file's recipe unless others are given. */
export async function logitsOf(path: string, activations: 'a8' | 'f32' | null = null): Promise<number[][]> {
  const kit = await NativeKit.open(path, { activations });
  try {
    const prompt = randomTokens(40, kit.vocab, 7);
    const rows = await prefill(kit, kit.open(48), prompt, [40], [0, 13, 37, 39]);
    return [...rows.values()].map((row) => Array.from(row));
  } finally {
    await kit.close();
  }
}
