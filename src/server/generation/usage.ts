import type { GenerationEvent, GenerationRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import type { CostEntry, Payer } from '../../metering/cost-book.js';
import type { UsageBody } from '../schemas/completion-response.js';
import type { CostBody } from '../schemas/cost.js';

/** Called when a sequence has ended: tokens of its prompt, and how many of them were found in the prefix cache. */
export type OnSequenceEnd = (promptTokens: number, cachedTokens: number) => void;

/** An account of energy, as sequences carry it. */
export type CostAccount = NonNullable<GenerationRequest['accounts']>[number];

/** Opens accounts for requests, enters them into the books, and says what they have come to. */
export interface CostDesk {
  open(): CostAccount;
  /** For a request that is about to be submitted; the account is the one it has, or a new one. */
  begin(payer: Payer, account?: CostAccount): CostEntry;
  bill(account: CostAccount): CostBody;
}

type EndCounts = Pick<EndEvent, 'completionTokens' | 'cachedTokens' | 'prunedTokens'>;

/** Tokens of a response, counted while its sequences end. Prompts count once, however many choices they have. */
export class UsageCounter {
  readonly #promptTokens: number;
  #completionTokens = 0;
  #cachedTokens = 0;
  readonly #bill: () => CostBody | null;
  #prunedTokens = 0;

  /** @param requests the sequences of the response; they share an account if its cost is asked for */
  constructor(promptTokens: number, requests: readonly GenerationRequest[], costs: CostDesk | null) {
    this.#promptTokens = promptTokens;
    const account = requests[0]?.accounts?.[0];
    this.#bill = () => (account === undefined || costs === null ? null : costs.bill(account));
  }

  get completionTokens(): number {
    return this.#completionTokens;
  }

  /** `isFirst`: of the choices of its prompt. */
  add({ completionTokens, cachedTokens, prunedTokens = 0 }: EndCounts, isFirst: boolean): void {
    this.#completionTokens += completionTokens;
    if (!isFirst) return;
    this.#cachedTokens += cachedTokens;
    this.#prunedTokens += prunedTokens;
  }

  body(): UsageBody {
    const cost = this.#bill();
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: this.#promptTokens + this.#completionTokens,
      prompt_tokens_details: {
        cached_tokens: this.#cachedTokens,
        ...(this.#prunedTokens > 0 ? { pruned_tokens: this.#prunedTokens } : {}),
      },
      ...(cost === null ? {} : { nibble_cost: cost }),
    };
  }
}

type EndEvent = Extract<GenerationEvent, { kind: 'end' }>;
/** An event of a sequence that ran to its end. */
export type CompleteEvent =
  | Exclude<GenerationEvent, { kind: 'end' }>
  | (Omit<EndEvent, 'reason'> & { readonly reason: Exclude<EndEvent['reason'], 'abort'> });

/** An event of a sequence. Throws `draining` if the engine cut it. */
export function completeEvent(event: GenerationEvent): CompleteEvent {
  if (event.kind !== 'end') return event;
  const { reason } = event;
  if (reason === 'abort') throw new NibbleError('draining', {}, { retryAfterSeconds: 1 });
  return { ...event, reason };
}

/** For a sequence whose events have ended without saying so. */
export function cutShort(): NibbleError {
  return new NibbleError('engine_failed', { message: 'a sequence ended without a reason' });
}
