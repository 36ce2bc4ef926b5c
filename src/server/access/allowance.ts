import { NibbleError } from '../../errors.js';

/** What a key may use; what is left out is unlimited. */
export type AllowanceLimits = {
  readonly requestsPerMinute?: number;
  /** Tokens of prompts and answers. */
  readonly tokensPerMinute?: number;
  /** Requests at the same time. */
  readonly concurrency?: number;
};

const minuteMs = 60_000;

/** Fills up evenly to a minute's worth. It may be overdrawn: how many tokens an answer has is known at its end only. */
class Bucket {
  #level: number | null = null;
  #atMs = 0;

  /** Milliseconds until something is left; 0 if it is. */
  waitMs(perMinute: number, needed: number, nowMs: number): number {
    const level = this.#fill(perMinute, nowMs);
    return level >= needed ? 0 : ((needed - level) / perMinute) * minuteMs;
  }

  take(perMinute: number, amount: number, nowMs: number): void {
    this.#level = this.#fill(perMinute, nowMs) - amount;
  }

  #fill(perMinute: number, nowMs: number): number {
    const gained = ((nowMs - this.#atMs) / minuteMs) * perMinute;
    this.#level = this.#level === null ? perMinute : Math.min(perMinute, this.#level + gained);
    this.#atMs = nowMs;
    return this.#level;
  }
}

/** What one key has used, against its limits. */
export class Allowance {
  limits: AllowanceLimits;
  readonly #now: () => number;
  readonly #requests = new Bucket();
  readonly #tokens = new Bucket();
  #running = 0;

  constructor(limits: AllowanceLimits, now: () => number) {
    this.limits = limits;
    this.#now = now;
  }

  /**
   * Counts a request that begins; returns what ends it, once. Throws `key_limit_exceeded` with the time after which it
   * is worth another try.
   */
  begin(): () => void {
    const { requestsPerMinute, tokensPerMinute, concurrency } = this.limits;
    const nowMs = this.#now();
    const refuse = (limit: string, waitMs: number) => {
      const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
      return new NibbleError('key_limit_exceeded', { limit }, { retryAfterSeconds });
    };
    if (concurrency !== undefined && this.#running >= concurrency) {
      throw refuse(`${concurrency} requests at the same time`, 1000);
    }
    if (tokensPerMinute !== undefined) {
      const waitMs = this.#tokens.waitMs(tokensPerMinute, 1, nowMs);
      if (waitMs > 0) throw refuse(`${tokensPerMinute} tokens per minute`, waitMs);
    }
    if (requestsPerMinute !== undefined) {
      const waitMs = this.#requests.waitMs(requestsPerMinute, 1, nowMs);
      if (waitMs > 0) throw refuse(`${requestsPerMinute} requests per minute`, waitMs);
      this.#requests.take(requestsPerMinute, 1, nowMs);
    }
    this.#running += 1;
    let isRunning = true;
    return () => {
      if (isRunning) this.#running -= 1;
      isRunning = false;
    };
  }

  /** Counts tokens that were used. */
  charge(tokens: number): void {
    const { tokensPerMinute } = this.limits;
    if (tokensPerMinute !== undefined) this.#tokens.take(tokensPerMinute, tokens, this.#now());
  }
}
