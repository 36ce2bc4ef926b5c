import type { GenerationEvent, TokenLogprob } from './types.js';

type Step = IteratorResult<GenerationEvent, undefined>;
type Waiter = { readonly resolve: (step: Step) => void; readonly reject: (error: unknown) => void };
type Outcome =
  | { readonly kind: 'end'; readonly event: GenerationEvent }
  | { readonly kind: 'error'; readonly error: unknown };

const done: Step = { done: true, value: undefined };

/**
 * Hands the events of one sequence to its one reader. What is unread is merged, so a slow reader holds at most one
 * event of each kind (its size bounded by max_tokens) and loses nothing.
 */
export class EventChannel implements AsyncIterableIterator<GenerationEvent, undefined> {
  private prompt: readonly TokenLogprob[] | null = null;
  private text = '';
  private tokenIds: number[] = [];
  private logprobs: TokenLogprob[] = [];
  private outcome: Outcome | null = null;
  private isFinished = false;
  private waiter: Waiter | null = null;
  private readonly onCancel: () => void;

  /** `onCancel` is called when the reader leaves its loop early. */
  constructor(onCancel: () => void) {
    this.onCancel = onCancel;
  }

  pushPrompt(logprobs: readonly TokenLogprob[]): void {
    this.prompt = logprobs;
    this.wake();
  }

  /** Appends text and the first `count` of the tokens and log-probabilities whose text is complete with it. */
  pushText(text: string, tokenIds: readonly number[], logprobs: readonly TokenLogprob[], count: number): void {
    this.text += text;
    for (let i = 0; i < count; i++) {
      this.tokenIds.push(tokenIds[i] as number);
      const logprob = logprobs[i];
      if (logprob !== undefined) this.logprobs.push(logprob);
    }
    this.wake();
  }

  pushEnd(event: GenerationEvent & { readonly kind: 'end' }): void {
    this.outcome ??= { kind: 'end', event };
    this.wake();
  }

  pushError(error: unknown): void {
    this.outcome ??= { kind: 'error', error };
    this.wake();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Step> {
    if (this.waiter !== null) return Promise.reject(new Error('a generation is read by one reader at a time'));
    return new Promise<Step>((resolve, reject) => {
      this.waiter = { resolve, reject };
      this.wake();
    });
  }

  return(): Promise<Step> {
    if (!this.isFinished) {
      this.isFinished = true;
      this.onCancel();
      this.wake();
    }
    return Promise.resolve(done);
  }

  private wake(): void {
    const waiter = this.waiter;
    if (waiter === null) return;
    const event = this.takeEvent();
    if (event === null && !this.isFinished) {
      if (this.outcome?.kind !== 'error') return;
      this.isFinished = true;
      this.waiter = null;
      waiter.reject(this.outcome.error);
      return;
    }
    this.waiter = null;
    waiter.resolve(event === null ? done : { done: false, value: event });
  }

  private takeEvent(): GenerationEvent | null {
    if (this.isFinished) return null;
    if (this.prompt !== null) {
      const logprobs = this.prompt;
      this.prompt = null;
      return { kind: 'prompt', logprobs };
    }
    if (this.text !== '' || this.tokenIds.length > 0) {
      const event = { kind: 'text', text: this.text, tokenIds: this.tokenIds, logprobs: this.logprobs } as const;
      this.text = '';
      this.tokenIds = [];
      this.logprobs = [];
      return event;
    }
    if (this.outcome?.kind !== 'end') return null;
    this.isFinished = true;
    return this.outcome.event;
  }
}
