import type { Engine } from '../engine/types.js';
import type { Tokenizer } from '../model/types.js';

/** A loaded model as the routes see it. */
export type ServedModel = {
  /** The id that the API reports; requests name it, or `default`. */
  readonly id: string;
  readonly createdSeconds: number;
  /** Changes whenever the same request could give another result: file, version, activation format. */
  readonly fingerprint: string;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  /** Encodes off the event loop, with special tokens added and parsed. */
  readonly encodeLong: (text: string) => Promise<Int32Array>;
};
