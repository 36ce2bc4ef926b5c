import type { TokenLogprob } from '../../engine/types.js';
import type { Tokenizer } from '../../model/types.js';
import type { ChatLogprob, ChatLogprobs } from '../schemas/chat-response.js';

/** JSON has no −∞; the contract writes this instead. */
const LOGPROB_MIN = -9999;

type Token = Omit<ChatLogprob, 'top_logprobs'>;

function describe(tokenizer: Tokenizer, id: number, logprob: number): Token {
  return {
    token: tokenizer.tokenText(id),
    logprob: Math.max(logprob, LOGPROB_MIN),
    bytes: [...tokenizer.tokenBytes(id)],
  };
}

/** Log-probabilities as chat completions write them: one entry a token, alternatives best first. */
export function chatLogprobs(tokenizer: Tokenizer, entries: readonly TokenLogprob[]): ChatLogprobs {
  const content = entries.map(({ tokenId, logprob, top }) => ({
    ...describe(tokenizer, tokenId, logprob ?? 0),
    top_logprobs: top.map((other) => describe(tokenizer, other.tokenId, other.logprob)),
  }));
  return { content, refusal: null };
}
