import type { NativeModel, StepResult } from '../native/contract.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { StepPlan } from '../scheduler/step-plan.js';

export type StepHooks<T> = {
  /** Before each plan: start what fits. */
  readonly admit: () => void;
  /** A step has returned, in the order of submission; exactly one of `result` and `error` counts. */
  readonly returned: (plan: StepPlan<T>, result: StepResult | null, error: unknown) => void;
};

type Ticket<T> = { readonly plan: StepPlan<T>; result: StepResult | null; error: unknown; isSettled: boolean };

/**
 * Keeps the engine thread supplied: while one step runs, the next one is planned and queued behind it. Turns happen
 * only when a step returns or after a `kick`; with nothing to do nothing is scheduled at all.
 */
export class StepLoop<T> {
  private readonly model: NativeModel;
  private readonly scheduler: Scheduler<T>;
  private readonly hooks: StepHooks<T>;
  /** Oldest first; two at most. */
  private readonly tickets: Ticket<T>[] = [];
  private isKicked = false;

  constructor(model: NativeModel, scheduler: Scheduler<T>, hooks: StepHooks<T>) {
    this.model = model;
    this.scheduler = scheduler;
    this.hooks = hooks;
  }

  /** Asks for a turn after the I/O callbacks of this tick, so that requests that arrive together start together. */
  kick(): void {
    if (this.isKicked) return;
    this.isKicked = true;
    setImmediate(this.onKick);
  }

  private readonly onKick = (): void => {
    this.isKicked = false;
    this.pump();
  };

  private pump(): void {
    while (this.scheduler.canPlan) {
      this.hooks.admit();
      const plan = this.scheduler.plan();
      if (plan === null) return;
      this.launch(plan);
    }
  }

  private launch(plan: StepPlan<T>): void {
    const ticket: Ticket<T> = { plan, result: null, error: null, isSettled: false };
    this.tickets.push(ticket);
    startStep(this.model, plan).then(
      (result) => this.settle(ticket, result, null),
      (error: unknown) => this.settle(ticket, null, error),
    );
  }

  /** A rejected step may settle before the one in front of it has run: results are handed on in order all the same. */
  private settle(ticket: Ticket<T>, result: StepResult | null, error: unknown): void {
    ticket.result = result;
    ticket.error = error;
    ticket.isSettled = true;
    for (let oldest = this.tickets[0]; oldest?.isSettled; oldest = this.tickets[0]) {
      this.tickets.shift();
      this.hooks.returned(oldest.plan, oldest.result, oldest.error);
    }
    this.pump();
  }
}

/** A failure counts the same whether the addon throws or rejects. */
function startStep<T>(model: NativeModel, plan: StepPlan<T>): Promise<StepResult> {
  try {
    return model.step(plan);
  } catch (error) {
    return Promise.reject(error);
  }
}
