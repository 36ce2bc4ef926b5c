/** A growing list of ids in one typed array: prompts reach millions of tokens. */
export class IdBuffer {
  #ids = new Int32Array(256);
  #length = 0;

  push(id: number): void {
    if (this.#length === this.#ids.length) {
      const grown = new Int32Array(this.#ids.length * 2);
      grown.set(this.#ids);
      this.#ids = grown;
    }
    this.#ids[this.#length++] = id;
  }

  /** A copy of exactly the ids pushed. */
  toArray(): Int32Array {
    return this.#ids.slice(0, this.#length);
  }
}
