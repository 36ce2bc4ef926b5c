/** Typed, checked access to the metadata of a GGUF file. Every refusal is `model_metadata_invalid` with the key. */
import { NibbleError } from '../errors.js';
import type { GgufMetadata, GgufValue } from './gguf-types.js';

type Range = { readonly min: number; readonly max: number };

export const metadataInvalid = (key: string, message: string) =>
  new NibbleError('model_metadata_invalid', { key, message });

const found = (entry: GgufValue) =>
  entry.type === 'array' ? `an array of ${entry.of}` : `a value of type ${entry.type}`;

/** Any integer type counts; null if the key is absent. */
export function optionalInteger(metadata: GgufMetadata, key: string, range: Range): number | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  switch (entry.type) {
    case 'u8':
    case 'i8':
    case 'u16':
    case 'i16':
    case 'u32':
    case 'i32':
    case 'u64':
    case 'i64':
      if (entry.value < range.min || entry.value > range.max) {
        throw metadataInvalid(key, `${entry.value} is not from ${range.min} to ${range.max}`);
      }
      return Number(entry.value);
    default:
      throw metadataInvalid(key, `must be an integer, but is ${found(entry)}`);
  }
}

export function requiredInteger(metadata: GgufMetadata, key: string, range: Range): number {
  return required(key, optionalInteger(metadata, key, range));
}

/** A finite float within the range; null if the key is absent. */
export function optionalFloat(metadata: GgufMetadata, key: string, range: Range): number | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  if (entry.type !== 'f32' && entry.type !== 'f64')
    throw metadataInvalid(key, `must be a float, but is ${found(entry)}`);
  if (!(entry.value >= range.min && entry.value <= range.max)) {
    throw metadataInvalid(key, `${entry.value} is not from ${range.min} to ${range.max}`);
  }
  return entry.value;
}

export function requiredFloat(metadata: GgufMetadata, key: string, range: Range): number {
  return required(key, optionalFloat(metadata, key, range));
}

export function optionalBool(metadata: GgufMetadata, key: string): boolean | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  if (entry.type !== 'bool') throw metadataInvalid(key, `must be a bool, but is ${found(entry)}`);
  return entry.value;
}

export function optionalString(metadata: GgufMetadata, key: string): string | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  if (entry.type !== 'string') throw metadataInvalid(key, `must be a string, but is ${found(entry)}`);
  return entry.value;
}

export function optionalStrings(metadata: GgufMetadata, key: string): readonly string[] | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  if (entry.type !== 'array' || entry.of !== 'string') {
    throw metadataInvalid(key, `must be an array of strings, but is ${found(entry)}`);
  }
  return entry.value;
}

/** An array of any of the given element types. */
export function optionalNumbers(
  metadata: GgufMetadata,
  key: string,
  allowed: readonly ('i32' | 'u32' | 'f32')[],
): ArrayLike<number> | null {
  const entry = metadata.get(key);
  if (entry === undefined) return null;
  if (entry.type === 'array') {
    switch (entry.of) {
      case 'i32':
      case 'u32':
      case 'f32':
        if (allowed.includes(entry.of)) return entry.value;
    }
  }
  throw metadataInvalid(key, `must be an array of ${allowed.join(' or ')}, but is ${found(entry)}`);
}

export function required<T>(key: string, value: T | null): T {
  if (value === null) throw metadataInvalid(key, 'is missing');
  return value;
}
