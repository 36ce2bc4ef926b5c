import { findTensorFormat, tensorBytes, tensorTypeName } from './gguf-types.js';
import type { ModelFile } from './types.js';

/** What a model is made of: by tensor format, the share of the weights' bytes. */
export type Composition = { readonly architecture: string; readonly weights: Readonly<Record<string, number>> };

/** Shares with three digits, largest first. */
export function compositionOf({
  architectureName,
  tensors,
}: Pick<ModelFile, 'architectureName' | 'tensors'>): Composition {
  const bytes = new Map<string, number>();
  for (const { type, shape } of tensors) {
    const format = findTensorFormat(type);
    const size = format === null ? 0 : Number(tensorBytes(format, shape) ?? 0n);
    bytes.set(tensorTypeName(type), (bytes.get(tensorTypeName(type)) ?? 0) + size);
  }
  const total = [...bytes.values()].reduce((sum, size) => sum + size, 0);
  const largestFirst = [...bytes].sort(([, a], [, b]) => b - a);
  const weights = Object.fromEntries(
    largestFirst.map(([name, size]) => [name, Math.round((size / total) * 1000) / 1000]),
  );
  return { architecture: architectureName, weights };
}
