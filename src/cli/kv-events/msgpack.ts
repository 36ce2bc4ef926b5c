/** MessagePack (msgpack.org), as much of it as the events need. */

export type Packed = Buffer;

/** Integers from 0 to 2⁶⁴ − 1. */
export function packUnsigned(value: bigint): Packed {
  if (value < 0x80n) return Buffer.from([Number(value)]);
  if (value <= 0xffn) return Buffer.from([0xcc, Number(value)]);
  if (value <= 0xffffn) {
    const bytes = Buffer.from([0xcd, 0, 0]);
    bytes.writeUInt16BE(Number(value), 1);
    return bytes;
  }
  if (value <= 0xffffffffn) {
    const bytes = Buffer.from([0xce, 0, 0, 0, 0]);
    bytes.writeUInt32BE(Number(value), 1);
    return bytes;
  }
  const bytes = Buffer.alloc(9, 0xcf);
  bytes.writeBigUInt64BE(value, 1);
  return bytes;
}

export function packFloat(value: number): Packed {
  const bytes = Buffer.alloc(9, 0xcb);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

export const packNull = (): Packed => Buffer.from([0xc0]);

/** Up to 255 bytes. */
export function packText(text: string): Packed {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(bytes.length < 32 ? [0xa0 | bytes.length] : [0xd9, bytes.length]), bytes]);
}

export function packArray(items: readonly Packed[]): Packed {
  const head = Buffer.alloc(5, 0xdd);
  head.writeUInt32BE(items.length, 1);
  return Buffer.concat([items.length < 16 ? Buffer.from([0x90 | items.length]) : head, ...items]);
}

/** Up to 15 fields, in the order given. */
export function packMap(fields: Readonly<Record<string, Packed>>): Packed {
  const entries = Object.entries(fields);
  const parts = entries.flatMap(([name, value]) => [packText(name), value]);
  return Buffer.concat([Buffer.from([0x80 | entries.length]), ...parts]);
}
