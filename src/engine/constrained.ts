import type { NibbleError } from '../errors.js';
import type { ConstraintEngine, Matcher } from '../grammar/grammar-engine.js';
import type { Constraint } from '../grammar/types.js';
import type { GenerationRequest } from './types.js';

export type ConstrainedEvents = {
  /** `mask` has become known. */
  readonly onMask: () => void;
  readonly onFinished: () => void;
  readonly onError: (error: NibbleError) => void;
};

/** What a constrained sequence may sample next. It outlives preemptions: the text goes on where it was. */
export class Constrained {
  /** For the next position, once it is known. */
  mask: { readonly position: number; readonly tokens: Int32Array } | null = null;
  private readonly matcher: Matcher;

  constructor(engine: ConstraintEngine, constraint: Constraint, request: GenerationRequest, events: ConstrainedEvents) {
    this.matcher = engine.open(constraint, request.ignoreEos ? Number.POSITIVE_INFINITY : (request.minTokens ?? 0), {
      onMask: (position, tokens) => {
        this.mask = { position, tokens };
        events.onMask();
      },
      onFinished: events.onFinished,
      onError: events.onError,
    });
  }

  accept(token: number): void {
    this.mask = null;
    this.matcher.accept(token);
  }

  close(): void {
    this.matcher.close();
  }
}
