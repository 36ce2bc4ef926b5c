/**
 * Finds special tokens in text: the leftmost match, and of those that start there the longest, as the tokenizers and
 * SentencePiece libraries do. A trie over UTF-16 units, since vocabularies hold hundreds that begin with `<|`.
 */
type TrieNode = { id: number; readonly children: Map<number, TrieNode> };

export class TextMatcher {
  readonly #root: TrieNode = { id: -1, children: new Map() };
  readonly #startsHere = new Uint8Array(0x10000);
  #empty = true;
  /** Set by `find`: the match's start and end (both the search's end if there is none). */
  start = 0;
  end = 0;

  add(text: string, id: number): void {
    if (text === '') return;
    let node = this.#root;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let child = node.children.get(unit);
      if (child === undefined) {
        child = { id: -1, children: new Map() };
        node.children.set(unit, child);
      }
      node = child;
    }
    if (node.id < 0) node.id = id;
    this.#startsHere[text.charCodeAt(0)] = 1;
    this.#empty = false;
  }

  /** Id of the first match in text[from, text.length), or -1; `start` and `end` tell where. */
  find(text: string, from: number): number {
    if (!this.#empty) {
      for (let i = from; i < text.length; i++) {
        if (this.#startsHere[text.charCodeAt(i)] === 0) continue;
        const id = this.#longestAt(text, i);
        if (id >= 0) return id;
      }
    }
    this.start = text.length;
    this.end = text.length;
    return -1;
  }

  #longestAt(text: string, start: number): number {
    let node = this.#root;
    let found = -1;
    for (let i = start; i < text.length; i++) {
      const child = node.children.get(text.charCodeAt(i));
      if (child === undefined) break;
      node = child;
      if (node.id >= 0) {
        found = node.id;
        this.start = start;
        this.end = i + 1;
      }
    }
    return found;
  }
}
