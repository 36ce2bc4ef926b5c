import type { ActivationKindName } from './recipe-types.js';

/** Bits of the codes as they are packed, and the variant, of each file format (native/formats/weight_format.h). */
const packed: Readonly<Record<string, readonly [bits: 4 | 8, variant: string]>> = {
  Q4_0: [4, ''],
  Q4_1: [4, '-affine'],
  Q4_K: [4, '-affine32'],
  Q5_0: [8, ''],
  Q8_0: [8, ''],
  Q5_1: [8, '-affine'],
  Q5_K: [8, '-affine32'],
  Q6_K: [8, '-g16'],
  Q3_K: [8, '-g16'],
  Q2_K: [8, '-g16-affine'],
  NB_W4G64: [4, '-g64'],
  NB_W4G64A: [4, '-g64-affine'],
  NB_W4G128: [4, '-g128'],
  NB_W4G128A: [4, '-g128-affine'],
  NB_W8G64: [8, '-g64'],
  NB_W8G128: [8, '-g128'],
};

/** Bit planes: their names among the kernels, and what follows these. */
const planes: Readonly<Record<string, readonly [name: string, variant: string]>> = {
  NB_W1G64: ['w1', ''],
  NB_W1G128: ['w1', '-g128'],
  NB_W2G64: ['w2', ''],
  NB_W2G64A: ['ternary', ''],
  NB_W2G128: ['w2', '-g128'],
  NB_W3G64: ['w3', ''],
  NB_W3G128: ['w3', '-g128'],
  NB_W4G64P: ['w4', ''],
  NB_T2G64: ['ternary', ''],
  TQ1_0: ['ternary', ''],
  TQ2_0: ['ternary', ''],
};

/**
 * The kernels (`nibble bench kernels --family …`) that multiply a matrix of this file format with such activations;
 * null if there are none of that name. Of bit planes with quantized
 * activations: those that look up, which steps of few tokens take. 4-bit activations are int8 codes to the kernels.
 */
export function kernelFamily(typeName: string, activations: ActivationKindName): string | null {
  if (['F32', 'F16', 'BF16'].includes(typeName)) return typeName.toLowerCase();
  const codebook = { NB_W2G64C: '', NB_W2G128C: '-g128' }[typeName];
  if (codebook !== undefined) return `rcp-w2a${activations === 'f32' ? 16 : 4}${codebook}`;
  const [name, suffix] = planes[typeName] ?? [];
  if (name !== undefined) {
    if (activations === 'f32') return `planes-${name}a16${suffix}`;
    return `${name === 'ternary' ? name : `lut-${name}`}${suffix}`;
  }
  const [bits, variant] = packed[typeName] ?? [];
  if (bits === undefined || activations.startsWith('tender')) return null;
  return `w${bits}a${activations === 'f32' ? 16 : 8}${variant}`;
}
