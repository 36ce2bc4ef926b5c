/** Floats as GGUF's types F32, F16 and BF16 hold them. */
export type FloatType = 'F32' | 'F16' | 'BF16';

const floatBits = new DataView(new ArrayBuffer(4));

/** f32 → f16 bits, round to nearest even, subnormals kept. */
export function toHalf(value: number): number {
  floatBits.setFloat32(0, value);
  const bits = floatBits.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa === 0 ? 0 : 0x200);
  const half = exponent - 112;
  if (half >= 31) return sign | 0x7c00;
  const full = half > 0 ? (half << 23) | mantissa : mantissa | 0x800000;
  const shift = half > 0 ? 13 : 14 - half;
  if (shift > 24) return sign;
  const kept = full >>> shift;
  const rest = full & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (kept + (rest > middle || (rest === middle && (kept & 1) === 1) ? 1 : 0));
}

/** f32 → bf16 bits, round to nearest even (finite values). */
function toBf16(value: number): number {
  floatBits.setFloat32(0, value);
  const bits = floatBits.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Values as the bytes of a tensor. */
export function encodeFloats(type: FloatType, values: Float32Array): Buffer {
  if (type === 'F32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  // A loop: Uint16Array.from makes a list of all values first, and takes ten times as long.
  const encode = type === 'F16' ? toHalf : toBf16;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i += 1) bits[i] = encode(values[i] ?? 0);
  return Buffer.from(bits.buffer);
}
