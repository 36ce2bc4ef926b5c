/** The keys `nibble.*` of model files that Nibble quantized: the recipe, and where the file comes from. */
import { NibbleError } from '../errors.js';
import { RECIPE_BYTES_MAX } from '../limits.js';
import { metadataInvalid, optionalInteger, optionalString, required } from './gguf-metadata.js';
import { FORMAT_VERSION_KEY, type GgufMetadata, type GgufValue } from './gguf-types.js';
import { forLayers, parseRecipeText } from './recipe.js';
import type { Recipe } from './recipe-types.js';

/** Of what `quantize` writes. Files of older versions are read; a newer one may mean what this program doesn't know. */
const NIBBLE_FORMAT_VERSION = 1;

export type Provenance = {
  /** Hexadecimal SHA-256 of the file that was quantized. */
  readonly sourceSha256: string;
  /** The same of the calibration text (`null`: none was used). */
  readonly calibrationSha256: string | null;
  readonly toolVersion: string;
  readonly seed: bigint;
};

export type NibbleMetadata = {
  readonly formatVersion: number;
  readonly recipe: Recipe;
  readonly provenance: Provenance;
};

const keys = {
  version: FORMAT_VERSION_KEY,
  recipe: 'nibble.recipe',
  source: 'nibble.source.sha256',
  calibration: 'nibble.calibration.sha256',
  tool: 'nibble.tool.version',
  seed: 'nibble.seed',
} as const;

/** Whether a metadata key is Nibble's own. */
export const isNibbleKey = (key: string): boolean => key.startsWith('nibble.');

function sha256(metadata: GgufMetadata, key: string): string | null {
  const text = optionalString(metadata, key);
  if (text !== null && !/^[0-9a-f]{64}$/.test(text)) throw metadataInvalid(key, 'is not a SHA-256');
  return text;
}

/**
 * Reads and checks them; null if the file has no `nibble.format_version`. Throws `model_format_version_unsupported`,
 * `model_metadata_invalid`, `recipe_invalid`.
 */
export function readNibbleMetadata(metadata: GgufMetadata, layers: number): NibbleMetadata | null {
  const version = optionalInteger(metadata, keys.version, { min: 1, max: 0xffff_ffff });
  if (version === null) return null;
  if (version > NIBBLE_FORMAT_VERSION) {
    throw new NibbleError('model_format_version_unsupported', { version, newest: NIBBLE_FORMAT_VERSION });
  }
  const text = required(keys.recipe, optionalString(metadata, keys.recipe));
  if (text.length > RECIPE_BYTES_MAX)
    throw metadataInvalid(keys.recipe, `has more than ${RECIPE_BYTES_MAX} characters`);
  const recipe = forLayers(parseRecipeText(text), layers);
  const toolVersion = required(keys.tool, optionalString(metadata, keys.tool));
  if (!/^[\x20-\x7e]{1,64}$/.test(toolVersion)) throw metadataInvalid(keys.tool, 'is not a version');
  const seed = metadata.get(keys.seed);
  if (seed?.type !== 'u64') throw metadataInvalid(keys.seed, 'must be a u64');
  const provenance = {
    sourceSha256: required(keys.source, sha256(metadata, keys.source)),
    calibrationSha256: sha256(metadata, keys.calibration),
    toolVersion,
    seed: seed.value,
  };
  return { formatVersion: version, recipe, provenance };
}

/** The same as it is written. The recipe's keys keep their order, so that equal recipes are equal bytes. */
export function nibbleMetadata(recipe: Recipe, provenance: Provenance): ReadonlyMap<string, GgufValue> {
  const string = (value: string): GgufValue => ({ type: 'string', value });
  const { sourceSha256, calibrationSha256, toolVersion, seed } = provenance;
  return new Map<string, GgufValue>([
    [keys.version, { type: 'u32', value: NIBBLE_FORMAT_VERSION }],
    [keys.recipe, string(JSON.stringify(recipe))],
    [keys.source, string(sourceSha256)],
    ...(calibrationSha256 === null ? [] : [[keys.calibration, string(calibrationSha256)] as const]),
    [keys.tool, string(toolVersion)],
    [keys.seed, { type: 'u64', value: seed }],
  ]);
}
