/** Enters what a request uses into the books, whatever becomes of it. */
import type { GenerationRequest, SequenceSummary } from '../../engine/types.js';
import type { CostEntry } from '../../metering/cost-book.js';

/**
 * The sequences of a request as they are to be submitted: each carries the account of the entry, which is closed when
 * no step computes for any of them any more.
 */
export function enterInto(entry: CostEntry, requests: readonly GenerationRequest[]): readonly GenerationRequest[] {
  // Choices of one prompt share it, and what the first of them found; the others find what that one has computed.
  const firsts = requests.filter(
    ({ promptIds }, at) => requests.findIndex((one) => one.promptIds === promptIds) === at,
  );
  const promptTokens = firsts.reduce((sum, { promptIds }) => sum + promptIds.length, 0);
  const counts = { promptTokens, cachedTokens: 0, completionTokens: 0 };
  entry.expect(promptTokens);
  let outcome: 'done' | 'abort' | 'error' = 'done';
  let running = requests.length;
  const released = (summary: SequenceSummary, request: GenerationRequest): void => {
    counts.completionTokens += summary.completionTokens;
    if (firsts.includes(request)) counts.cachedTokens += summary.cachedTokens;
    if (summary.reason === 'error') outcome = 'error';
    else if (summary.reason === 'abort' && outcome === 'done') outcome = 'abort';
    running -= 1;
    if (running === 0) entry.close(outcome, counts);
  };
  return requests.map((request) => ({
    ...request,
    accounts: [entry.account, ...(request.accounts ?? []).filter((account) => account !== entry.account)],
    onReleased: (summary) => {
      request.onReleased?.(summary);
      released(summary, request);
    },
  }));
}
