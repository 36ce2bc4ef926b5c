/** Watches the requests of aliases that have a canary: how each side answers, and how far both agree. */
import { compareAnswer } from '../engine/compare.js';
import type { Lease, ModelRegistry } from '../engine/model-registry.js';
import {
  type Answered,
  type EnergyReport,
  RolloutCounts,
  type RolloutReport,
  type Side,
} from '../engine/rollout-report.js';
import type { Choice } from '../engine/routing.js';
import type { GenerationRequest, SequenceSummary } from '../engine/types.js';
import type { CostAccount, CostDesk } from './generation/usage.js';
import type { ServedModel } from './served-model.js';

type Watch = {
  readonly counts: RolloutCounts;
  /** By side, once something was asked of it; none where nothing measures. */
  readonly accounts: Map<Side, CostAccount>;
  costs: CostDesk | null;
  isComparing: boolean;
};

function answered({ reason, completionTokens, firstTokenSeconds, totalSeconds }: SequenceSummary): Answered {
  const isTimed = firstTokenSeconds !== null && completionTokens > 1;
  const interTokenSeconds = isTimed ? (totalSeconds - firstTokenSeconds) / (completionTokens - 1) : null;
  return { isError: reason === 'error', tokens: completionTokens, firstTokenSeconds, interTokenSeconds };
}

/** The account of a side, in a list; empty where nothing measures. */
function accountOf(watch: Watch, side: Side, costs: CostDesk | null): readonly CostAccount[] {
  if (costs === null) return [];
  watch.costs = costs;
  const known = watch.accounts.get(side) ?? costs.open();
  watch.accounts.set(side, known);
  return [known];
}

export class Rollouts {
  readonly #registry: ModelRegistry<ServedModel>;
  /** By alias; those of the last canary are kept until the next begins. */
  readonly #watches = new Map<string, Watch>();

  constructor(registry: ModelRegistry<ServedModel>) {
    this.#registry = registry;
  }

  /** Counts begin anew. */
  begin(alias: string): void {
    this.#watches.set(alias, { counts: new RolloutCounts(), accounts: new Map(), costs: null, isComparing: false });
  }

  report(alias: string): RolloutReport | null {
    const watch = this.#watches.get(alias);
    if (watch === undefined) return null;
    const energyOf = (side: Side): EnergyReport | null => {
      const account = watch.accounts.get(side);
      if (account === undefined || watch.costs === null) return null;
      const { joules, source } = watch.costs.bill(account);
      return { joules, source };
    };
    return watch.counts.report({ baseline: energyOf('baseline'), candidate: energyOf('candidate') });
  }

  /** The candidate couldn't be loaded for a request; the baseline answers. */
  countUnavailable(alias: string): void {
    const none = { isError: true, tokens: 0, firstTokenSeconds: null, interTokenSeconds: null };
    this.#watches.get(alias)?.counts.answered('candidate', none);
  }

  /** The sequences of a request as they are submitted, watched if the choice says so. */
  watch(choice: Choice, requests: readonly GenerationRequest[], costs: CostDesk | null): readonly GenerationRequest[] {
    const { arm, shadow, model } = choice;
    const watch = arm === null ? undefined : this.#watches.get(arm.alias);
    if (arm === null || watch === undefined) return requests;
    const account = accountOf(watch, arm.side, costs);
    return requests.map((request, index) => ({
      ...request,
      accounts: [...(request.accounts ?? []), ...account],
      onEnd: (summary, generatedIds) => {
        request.onEnd?.(summary, generatedIds);
        if (summary.reason === 'abort') return;
        watch.counts.answered(arm.side, answered(summary));
        const isWhole = summary.reason !== 'error' && generatedIds.length > 0;
        if (shadow === null || index > 0 || !isWhole) return;
        void this.#compare(watch, model, shadow, request, generatedIds);
      },
    }));
  }

  /** One at a time: comparing must not become the load that the models are judged under. */
  async #compare(
    watch: Watch,
    baseline: string,
    candidate: string,
    { promptIds, cacheScope = 0 }: GenerationRequest,
    answerIds: readonly number[],
  ): Promise<void> {
    if (watch.isComparing) return watch.counts.notCompared();
    watch.isComparing = true;
    const leases: (Lease<ServedModel> | null)[] = [];
    try {
      leases.push(this.#registry.acquireReady(baseline), this.#registry.acquireReady(candidate));
      const [ours, theirs] = leases;
      if (ours == null || theirs == null) return watch.counts.notCompared();
      const { signal } = new AbortController();
      const [own, other] = [ours.model.engine, theirs.model.engine];
      watch.counts.compared(await compareAnswer(own, other, promptIds, answerIds, cacheScope, signal));
    } catch {
      watch.counts.notCompared();
    } finally {
      for (const lease of leases) lease?.release();
      watch.isComparing = false;
    }
  }
}
