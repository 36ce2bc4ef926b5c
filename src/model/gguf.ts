/** Opens a GGUF model: reads its header, checks everything, returns what the engine and the addon need. */
import { basename, extname, resolve } from 'node:path';
import { NibbleError } from '../errors.js';
import { readArchitecture, readArchitectureName } from './architecture.js';
import { checkTensors } from './architecture-tensors.js';
import { optionalInteger } from './gguf-metadata.js';
import { type GgufHeader, readGgufHeader } from './gguf-reader.js';
import { readTokenizerMetadata } from './gguf-tokenizer.js';
import { readNibbleMetadata } from './nibble-metadata.js';
import type { ModelFile } from './types.js';

/**
 * Reads and validates the metadata of a model file; no weights are read (their values are checked while packing).
 *
 * Throws NibbleError `model_file_not_found`, `model_file_unreadable`, `model_file_invalid`,
 * `model_architecture_unsupported`, `model_metadata_invalid`, `tokenizer_unsupported`, `model_tensor_missing`,
 * `model_format_version_unsupported`, `recipe_invalid`, `model_tensor_unknown`, `model_tensor_shape`, `model_tensor_type_unsupported`, `model_tensor_out_of_range`.
 */
export async function readModelFile(path: string): Promise<ModelFile> {
  return modelOf(await readGgufHeader(resolve(path)));
}

/** What a header describes, checked; throws as `readModelFile` does. */
export function modelOf(header: GgufHeader): ModelFile {
  const parts = optionalInteger(header.metadata, 'split.count', { min: 0, max: 65_535 }) ?? 0;
  if (parts > 1) {
    const message = `it is one of ${parts} parts of a split model (split.count); merge them into one file first`;
    throw new NibbleError('model_file_invalid', { path: header.path, message });
  }
  const architectureName = readArchitectureName(header.metadata);
  const tokenizer = readTokenizerMetadata(header.metadata);
  const architecture = readArchitecture(header.metadata, tokenizer.tokens.length);
  const nibble = readNibbleMetadata(header.metadata, architecture.layers);
  return {
    path: header.path,
    id: basename(header.path, extname(header.path)),
    fileBytes: header.fileBytes,
    architectureName,
    architecture,
    tensors: checkTensors(header, architectureName, architecture),
    tokenizer,
    nibble,
  };
}
