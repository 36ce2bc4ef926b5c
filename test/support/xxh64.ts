/** XXH64 after its specification, on bigints: slow, and independent of the native one. */
const p1 = 0x9e3779b185ebca87n;
const p2 = 0xc2b2ae3d27d4eb4fn;
const p3 = 0x165667b19e3779f9n;
const p4 = 0x85ebca77c2b2ae63n;
const p5 = 0x27d4eb2f165667c5n;

const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotate = (value: bigint, bits: bigint) => u64((value << bits) | (u64(value) >> (64n - bits)));
const round = (lane: bigint, input: bigint) => u64(rotate(u64(lane + input * p2), 31n) * p1);

export function xxh64(data: Buffer): bigint {
  let at = 0;
  let hash = p5;
  if (data.length >= 32) {
    const lanes: [bigint, bigint, bigint, bigint] = [u64(p1 + p2), p2, 0n, u64(-p1)];
    for (; at + 32 <= data.length; at += 32) {
      for (const i of [0, 1, 2, 3] as const) lanes[i] = round(lanes[i], data.readBigUInt64LE(at + 8 * i));
    }
    hash = u64(rotate(lanes[0], 1n) + rotate(lanes[1], 7n) + rotate(lanes[2], 12n) + rotate(lanes[3], 18n));
    for (const lane of lanes) hash = u64((hash ^ round(0n, lane)) * p1 + p4);
  }
  hash = u64(hash + BigInt(data.length));
  for (; at + 8 <= data.length; at += 8) {
    hash = u64(rotate(hash ^ round(0n, data.readBigUInt64LE(at)), 27n) * p1 + p4);
  }
  if (at + 4 <= data.length) {
    hash = u64(rotate(hash ^ u64(BigInt(data.readUInt32LE(at)) * p1), 23n) * p2 + p3);
    at += 4;
  }
  for (; at < data.length; at += 1) hash = u64(rotate(hash ^ u64(BigInt(data[at] ?? 0) * p5), 11n) * p1);
  hash = u64((hash ^ (hash >> 33n)) * p2);
  hash = u64((hash ^ (hash >> 29n)) * p3);
  return hash ^ (hash >> 32n);
}
