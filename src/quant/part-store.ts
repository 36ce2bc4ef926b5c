/**
 * The finished parts of a quantization, in a folder beside the output, so that it can go on after an interruption: a
 * GGUF file for each part, and `manifest.json` with what they were made from and their SHA-256.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NibbleError } from '../errors.js';
import { readGgufHeader } from '../model/gguf-reader.js';
import { GgufWriter, type TensorData, type TensorDeclaration } from '../model/gguf-writer.js';
import { fileSha256 } from '../model/sources/cache.js';
import type { TensorSpec } from '../native/contract.js';

export type PartTensor = TensorDeclaration & { readonly data: TensorData };

/** What parts are made from: parts of another source, recipe, calibration or version don't belong together. */
export type PartKey = Readonly<Record<'source' | 'recipe' | 'calibration' | 'tool', string>>;

type Manifest = { key: PartKey; parts: Record<string, string> };

const manifestName = 'manifest.json';

function readManifest(text: string): Manifest | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('key' in value) || !('parts' in value)) return null;
    return value as Manifest;
  } catch {
    return null;
  }
}

export class PartStore {
  private constructor(
    readonly folder: string,
    private readonly manifest: Manifest,
  ) {}

  /**
   * With `resumes`, goes on with what is there, and refuses (`invalid_request`) what was made from something else;
   * otherwise begins anew. A folder that isn't one of ours is refused with `output_exists`.
   */
  static async open(folder: string, key: PartKey, resumes: boolean): Promise<PartStore> {
    const text = await readFile(join(folder, manifestName), 'utf8').catch(() => null);
    const manifest = text === null ? null : readManifest(text);
    if (manifest === null && (await readdir(folder).catch(() => [])).length > 0) {
      throw new NibbleError('output_exists', { path: folder });
    }
    if (resumes && manifest !== null) {
      const differs = Object.entries(key).find(([name, value]) => manifest.key[name as keyof PartKey] !== value);
      if (differs === undefined) return new PartStore(folder, manifest);
      const message = `${folder} was made with another ${differs[0]}; without --resume everything is done anew`;
      throw new NibbleError('invalid_request', { message }, { param: 'resume' });
    }
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    const store = new PartStore(folder, { key, parts: {} });
    await store.#writeManifest();
    return store;
  }

  #path(name: string): string {
    return join(this.folder, `${name}.gguf`);
  }

  async #writeManifest(): Promise<void> {
    const path = join(this.folder, manifestName);
    await writeFile(`${path}.writing`, JSON.stringify(this.manifest));
    await rename(`${path}.writing`, path);
  }

  /** Whether a part is there, with the bytes that were written. */
  async has(name: string): Promise<boolean> {
    const expected = this.manifest.parts[name];
    if (expected === undefined) return false;
    return (await fileSha256(this.#path(name)).catch(() => null)) === expected;
  }

  /** The part counts once this has resolved. */
  async write(name: string, tensors: readonly PartTensor[]): Promise<void> {
    const writer = await GgufWriter.create(this.#path(name));
    try {
      // The format requires a key of every file, and private types are readable with it.
      writer.setMetadata('nibble.format_version', { type: 'u32', value: 1 });
      for (const { name: tensor, type, shape } of tensors) writer.declareTensor({ name: tensor, type, shape });
      for (const tensor of tensors) await writer.writeTensor(tensor.name, tensor.data);
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
    this.manifest.parts[name] = await fileSha256(this.#path(name));
    await this.#writeManifest();
  }

  /** The tensors of a part, and the file that holds them. */
  async read(name: string): Promise<{ readonly path: string; readonly tensors: readonly TensorSpec[] }> {
    const { path, tensors } = await readGgufHeader(this.#path(name));
    return { path, tensors };
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
