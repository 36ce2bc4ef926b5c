/**
 * Well-formed UTF-8 (Unicode 15, table 3-7), which the grammar engine doesn't hold texts to: where a character may come
 * it lets overlong forms, halves of surrogate pairs and codes past the last one pass.
 */
const GROUND = 0;
const INVALID = -1;

/** States other than GROUND: what must come before the character is whole. */
type Pending = { readonly low: number; readonly high: number; readonly next: number };
const pending: readonly Pending[] = [
  { low: 0, high: 0, next: INVALID },
  { low: 0x80, high: 0xbf, next: GROUND },
  { low: 0x80, high: 0xbf, next: 1 },
  { low: 0x80, high: 0xbf, next: 2 },
  { low: 0xa0, high: 0xbf, next: 1 }, // after E0
  { low: 0x80, high: 0x9f, next: 1 }, // after ED
  { low: 0x90, high: 0xbf, next: 2 }, // after F0
  { low: 0x80, high: 0x8f, next: 2 }, // after F4
];

function lead(byte: number): number {
  if (byte < 0x80) return GROUND;
  if (byte < 0xc2 || byte > 0xf4) return INVALID;
  if (byte < 0xe0) return 1;
  if (byte < 0xf0) return byte === 0xe0 ? 4 : byte === 0xed ? 5 : 2;
  return byte === 0xf0 ? 6 : byte === 0xf4 ? 7 : 3;
}

/** The state behind these bytes; −1 if they can't be part of a text. */
export function utf8After(state: number, bytes: Uint8Array): number {
  let at = state;
  for (let i = 0; i < bytes.length && at !== INVALID; i++) {
    const byte = bytes[i] as number;
    const { low, high, next } = pending[at] as Pending;
    if (at === GROUND) at = lead(byte);
    else at = byte >= low && byte <= high ? next : INVALID;
  }
  return at;
}

/** For each state the tokens that may come, as masks; made when first needed. */
export class Utf8Masks {
  readonly #tokens: readonly Uint8Array[];
  readonly #masks: (Int32Array | undefined)[] = [];

  constructor(tokens: readonly Uint8Array[]) {
    this.#tokens = tokens;
  }

  after(state: number, token: number): number {
    return utf8After(state, this.#tokens[token] ?? new Uint8Array());
  }

  /** Takes the others out of `mask`. */
  restrict(mask: Int32Array, state: number): void {
    this.#masks[state] ??= this.#make(state);
    const allowed = this.#masks[state] as Int32Array;
    for (let word = 0; word < mask.length; word++) mask[word] = (mask[word] as number) & (allowed[word] as number);
  }

  #make(state: number): Int32Array {
    const mask = new Int32Array(Math.ceil(this.#tokens.length / 32));
    this.#tokens.forEach((bytes, id) => {
      if (utf8After(state, bytes) !== INVALID) mask[id >> 5] = (mask[id >> 5] as number) | (1 << (id & 31));
    });
    return mask;
  }
}
