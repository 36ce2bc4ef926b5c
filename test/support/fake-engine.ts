import type {
  Engine,
  EngineGauges,
  FinishReason,
  Generation,
  GenerationEvent,
  GenerationRequest,
  TokenLogprob,
} from '../../src/engine/types.js';
import { NibbleError } from '../../src/errors.js';
import { constraintError } from '../../src/grammar/grammar-engine.js';
import { grammarOf } from '../../src/grammar/source.js';
import { type Constraint, ConstraintError } from '../../src/grammar/types.js';
import type { Detokenizer, EncodeOptions, Tokenizer } from '../../src/model/types.js';

export const FAKE_BOS = 256;
export const FAKE_END = 257;
const specials = new Map([
  [FAKE_BOS, '<|bos|>'],
  [FAKE_END, '<|end|>'],
]);

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

function bytesOf(id: number): Uint8Array {
  const special = specials.get(id);
  return special === undefined ? Uint8Array.of(id) : new TextEncoder().encode(special);
}

/** A tokenizer whose token ids are bytes, plus two special tokens. */
export function createFakeTokenizer(
  options: { readonly addBos?: boolean; readonly bosId?: number | null } = {},
): Tokenizer {
  const decode = (ids: ArrayLike<number>, keepSpecial = false): string => {
    const parts = Array.from(ids).filter((id) => keepSpecial || !specials.has(id));
    return Buffer.concat(parts.map(bytesOf)).toString('utf8');
  };
  return {
    vocabSize: 258,
    bosId: options.bosId === undefined ? FAKE_BOS : options.bosId,
    endIds: new Set([FAKE_END]),
    encode(text: string, { addSpecialTokens, parseSpecial }: EncodeOptions): Int32Array {
      const parts = parseSpecial ? text.split(/(<\|bos\|>|<\|end\|>)/) : [text];
      const ids = parts.flatMap((part) => {
        if (parseSpecial && part === '<|bos|>') return [FAKE_BOS];
        if (parseSpecial && part === '<|end|>') return [FAKE_END];
        return [...new TextEncoder().encode(part)];
      });
      return Int32Array.from(addSpecialTokens && options.addBos === true ? [FAKE_BOS, ...ids] : ids);
    },
    decode,
    tokenBytes: bytesOf,
    tokenText(id: number): string {
      try {
        return strictUtf8.decode(bytesOf(id));
      } catch {
        return `bytes:\\x${id.toString(16).padStart(2, '0')}`;
      }
    },
    createDetokenizer(): Detokenizer {
      throw new Error('the server has no use for a detokenizer');
    },
  };
}

/** What the fake model says about a token: a log-probability that follows from its id alone. */
export const fakeLogprob = (tokenId: number): number => -(tokenId + 1) / 64;

const logprobOf = (tokenId: number, alternatives: number): TokenLogprob => ({
  tokenId,
  logprob: fakeLogprob(tokenId),
  // The alternatives are the ids that follow, so the token itself isn't always among the best.
  top: Array.from({ length: alternatives }, (_, rank) => ({ tokenId: rank, logprob: fakeLogprob(rank) })),
});

export type FakeEngineOptions = {
  readonly contextTokensMax?: number;
  /** What continues a prompt. By default letters that depend on the choice: `abcdef…`, `bcdefg…`. */
  readonly continuation?: (request: GenerationRequest) => string;
  /** Thrown by `submit`. */
  readonly refuse?: () => Error | null;
  /** Thrown by the choice with this index after this many tokens. */
  readonly failAfter?: { readonly choice: number; readonly tokens: number; readonly error: Error };
  readonly cachedTokens?: number;
};

/** The fake model begins after a quarter of a second, takes as long for the prompt, and half a second for the rest. */
const fakeTimes = (promptTokens: number, cachedTokens: number, completionTokens: number) => ({
  promptTokens,
  cachedTokens,
  completionTokens,
  queueSeconds: 0.25,
  firstTokenSeconds: completionTokens === 0 ? null : 0.5,
  totalSeconds: 1,
});

const letters = (request: GenerationRequest): string =>
  Array.from({ length: request.maxTokens }, (_, i) =>
    String.fromCharCode(97 + ((i + request.sampling.choice) % 26)),
  ).join('');

/** An Engine without a model: tokens are bytes of a scripted text. It records what it was asked. */
export class FakeEngine implements Engine {
  readonly contextTokensMax: number;
  readonly submitted: GenerationRequest[] = [];
  /** What `checkConstraint` was asked; grammars aren't read. */
  readonly constraints: Constraint[] = [];
  readonly signals: AbortSignal[] = [];
  /** Sequences that ended with `abort`. */
  abortedCount = 0;
  runningCount = 0;
  readonly #options: FakeEngineOptions;
  #isHeld = false;
  #isDraining = false;
  #wake: (() => void)[] = [];

  constructor(options: FakeEngineOptions = {}) {
    this.#options = options;
    this.contextTokensMax = options.contextTokensMax ?? 512;
  }

  /** Sequences stop before their next token until `release`. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#wakeAll();
  }

  submit(requests: readonly GenerationRequest[], signal: AbortSignal): readonly Generation[] {
    const refusal = this.#options.refuse?.() ?? null;
    if (refusal !== null) throw refusal;
    if (this.#isDraining) throw new NibbleError('draining', {});
    for (const { promptIds } of requests) {
      if (promptIds.length >= this.contextTokensMax) {
        const parameters = { promptTokens: promptIds.length, limitTokens: this.contextTokensMax };
        throw new NibbleError('context_length_exceeded', parameters);
      }
    }
    this.submitted.push(...requests);
    this.signals.push(signal);
    this.runningCount += requests.length;
    signal.addEventListener('abort', () => this.#wakeAll());
    return requests.map((request, index) => this.#run(request, index, signal));
  }

  async checkConstraint(constraint: Constraint): Promise<void> {
    this.constraints.push(constraint);
    try {
      grammarOf(constraint);
    } catch (error) {
      throw error instanceof ConstraintError ? constraintError(error) : error;
    }
  }

  gauges(): EngineGauges {
    return {
      running: this.runningCount,
      waiting: 3,
      kvBlocksTotal: 64,
      kvBlocksUsed: 16,
      kvBlocksCached: 8,
      queueSeconds: 1.5,
      preemptions: 2,
      stepCostMs: [2, 0.5, 0.25, 0.0002, 0.0004],
      speculation: { drafts: 3, draftTokens: 21, acceptedTokens: 13 },
    };
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    while (this.runningCount > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  async close(): Promise<void> {}

  #wakeAll(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }

  async *#run(request: GenerationRequest, index: number, signal: AbortSignal): AsyncGenerator<GenerationEvent> {
    const ids: number[] = [];
    let reason: FinishReason | 'error' = 'error';
    const { cachedTokens = 0 } = this.#options;
    const summary = () => ({ reason, ...fakeTimes(request.promptIds.length, cachedTokens, ids.length) });
    try {
      for await (const event of this.#events(request, index, signal)) {
        if (event.kind === 'text') ids.push(...event.tokenIds);
        if (event.kind === 'end') {
          reason = event.reason;
          request.onEnd?.(summary(), ids);
        }
        yield event;
      }
    } finally {
      if (reason === 'error') request.onEnd?.(summary(), ids);
      request.onReleased?.(summary());
      this.runningCount -= 1;
    }
  }

  async *#events(request: GenerationRequest, index: number, signal: AbortSignal): AsyncGenerator<GenerationEvent> {
    const { failAfter, cachedTokens = 0 } = this.#options;
    const alternatives = request.logprobs ?? 0;
    if (request.scorePrompt) {
      const logprobs = Array.from(request.promptIds, (id, at) =>
        at === 0 ? { tokenId: id, logprob: null, top: [] } : logprobOf(id, alternatives),
      );
      yield { kind: 'prompt', logprobs };
    }
    const whole = (this.#options.continuation ?? letters)(request);
    const cuts = request.stop.map((stop) => whole.indexOf(stop)).filter((at) => at >= 0);
    const text = whole.slice(0, Math.min(whole.length, ...cuts));
    let made = 0;
    // One event per character, as the engine does: a piece never ends within one.
    for (const character of text) {
      const ids = [...new TextEncoder().encode(character)];
      while (this.#isHeld && !signal.aborted) await new Promise<void>((resolve) => this.#wake.push(resolve));
      if (signal.aborted) {
        this.abortedCount += 1;
        yield { kind: 'end', reason: 'abort', completionTokens: made, cachedTokens };
        return;
      }
      if (failAfter !== undefined && failAfter.choice === index && failAfter.tokens === made) throw failAfter.error;
      if (made + ids.length > request.maxTokens) break;
      made += ids.length;
      const logprobs = request.logprobs === null ? [] : ids.map((id) => logprobOf(id, alternatives));
      yield { kind: 'text', text: character, tokenIds: ids, logprobs };
      await new Promise((resolve) => setImmediate(resolve));
    }
    const reason = cuts.length > 0 || made < request.maxTokens ? 'stop' : 'length';
    yield { kind: 'end', reason, completionTokens: made, cachedTokens };
  }
}
