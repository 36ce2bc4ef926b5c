import type { Sequence } from './sequence.js';

/**
 * The waiting line. Order: priority; then sequences that were preempted, oldest first; then the tenant that was served
 * least; then arrival. Whoever is first is never overtaken by others that would fit, so a sequence that needs many
 * blocks can't be kept waiting for ever. It is short (`waitingMax`), so plain array operations do.
 */
export class WaitingLine<T> {
  /** In order of arrival. */
  private readonly line: Sequence<T>[] = [];
  private promptTokens = 0;

  get length(): number {
    return this.line.length;
  }

  /** Prompt tokens of all that wait. */
  get tokens(): number {
    return this.promptTokens;
  }

  [Symbol.iterator](): Iterator<Sequence<T>> {
    return this.line[Symbol.iterator]();
  }

  join(sequence: Sequence<T>): void {
    this.line.push(sequence);
    this.promptTokens += sequence.promptTokens;
  }

  leave(sequence: Sequence<T>): void {
    const index = this.line.indexOf(sequence);
    if (index < 0) return;
    this.line.splice(index, 1);
    this.promptTokens -= sequence.promptTokens;
  }

  /** Whose turn it is; null if nobody waits. */
  first(): Sequence<T> | null {
    let best = this.line[0];
    if (best === undefined) return null;
    for (let i = 1; i < this.line.length; i++) {
      const other = this.line[i] as Sequence<T>;
      if (goesBefore(other, best)) best = other;
    }
    return best;
  }

  /** Those that have waited past their deadline. One that was preempted has had its first turn: it stays. */
  overdue(nowMs: number): readonly Sequence<T>[] {
    return this.line.filter((sequence) => sequence.deadlineMs <= nowMs && sequence.preemptions === 0);
  }
}

function goesBefore<T>(a: Sequence<T>, b: Sequence<T>): boolean {
  if (a.priority !== b.priority) return a.priority < b.priority;
  const resumes = a.preemptions > 0;
  if (resumes !== b.preemptions > 0) return resumes;
  if (!resumes && a.account.served !== b.account.served) return a.account.served < b.account.served;
  return a.id < b.id;
}
