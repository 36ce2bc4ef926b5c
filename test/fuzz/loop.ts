/**
 * Coverage-guided fuzzing without a library: inputs that reach new code, by V8's own block coverage, join the corpus
 * and are changed further (the idea of AFL, Zalewski 2013). Jazzer.js does the same and more, but its binaries need a
 * newer C library than Debian 12 has.
 */
import { Session } from 'node:inspector';
import { Random } from '../../src/random.js';
import { changed } from './changes.js';

export type Target = {
  /** Sound inputs, and such as have once gone wrong. */
  readonly seeds: () => readonly Buffer[] | Promise<readonly Buffer[]>;
  /** Words that chance would hardly find. */
  readonly words: readonly string[];
  /** Throws if something is wrong. */
  readonly run: (input: Buffer) => unknown;
};

export type Fuzzed = { readonly cases: number; readonly kept: number; readonly places: number };

/** Inputs between two looks at the coverage: a look takes as long as some dozens of them. */
const BATCH = 64;
export const INPUT_BYTES_MAX = 1 << 16;

type Range = { readonly startOffset: number; readonly endOffset: number; readonly count: number };
type Script = { readonly url: string; readonly functions: readonly { readonly ranges: readonly Range[] }[] };

/** What has been reached, as places in the sources that can be at fault. */
class Coverage {
  readonly seen = new Set<string>();
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** How many places were reached for the first time since the last look. */
  look(): number {
    const before = this.seen.size;
    for (const { url, functions } of this.#post('Profiler.takePreciseCoverage') as readonly Script[]) {
      if (!/\/src\/|jinja/.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          // How often matters too, roughly: a loop run a hundred times is another thing than once.
          if (count > 0)
            this.seen.add(`${url}:${startOffset}:${endOffset}:${Math.min(8, Math.ceil(Math.log2(count)))}`);
        }
      }
    }
    return this.seen.size - before;
  }

  #post(method: string, parameters: object = {}): unknown {
    let answer: unknown;
    // Within one thread the inspector answers at once.
    this.#session.post(method, parameters, (error, result: { readonly result?: unknown } = {}) => {
      if (error !== null) throw new Error(error.message);
      answer = result.result;
    });
    return answer;
  }
}

/** Runs a target for so long. `before` is told each input first, so that a hang or a crash can be replayed. */
export async function fuzz(
  target: Target,
  seconds: number,
  seed: number,
  before: (input: Buffer) => void,
): Promise<Fuzzed> {
  const random = new Random(seed);
  const corpus = [...(await target.seeds())];
  const coverage = new Coverage();
  const run = async (input: Buffer): Promise<void> => {
    before(input);
    await target.run(input);
  };
  for (const input of corpus) await run(input);
  coverage.look();
  let cases = corpus.length;
  for (const end = performance.now() + 1000 * seconds; performance.now() < end; cases += BATCH) {
    const batch = Array.from({ length: BATCH }, () => changed(corpus, target.words, random, INPUT_BYTES_MAX));
    for (const input of batch) await run(input);
    if (coverage.look() === 0) continue;
    // Which of them it was, another run of each would say; the last ones as a whole are good enough, thinned out.
    corpus.push(...batch.filter((_, i) => i % 16 === random.below(16)));
    if (corpus.length > 4096) corpus.splice(random.below(1024), 1024);
  }
  return { cases, kept: corpus.length, places: coverage.seen.size };
}
