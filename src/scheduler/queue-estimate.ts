/** Weight of the newest measurement against all before it. */
const freshness = 0.2;

/**
 * How long sequences wait, from how fast the line moved while there was one: the mean time between two admissions, and
 * at least the time since the last. Times are ms of the caller's clock.
 */
export class QueueEstimate {
  private intervalMs: number | null = null;
  /** The last admission, or when the line began; null while nobody waits. */
  private sinceMs: number | null = null;

  /** `admitted` sequences have just left the line for their turn, and `waiting` are left in it. */
  moved(admitted: number, waiting: number, nowMs: number): void {
    if (this.sinceMs !== null && admitted > 0) {
      const interval = (nowMs - this.sinceMs) / admitted;
      this.intervalMs =
        this.intervalMs === null ? interval : this.intervalMs + freshness * (interval - this.intervalMs);
    }
    if (waiting === 0) this.sinceMs = null;
    else if (this.sinceMs === null || admitted > 0) this.sinceMs = nowMs;
  }

  /** Until `count` sequences have left the line, ms; 0 before anything was measured. */
  waitMs(count: number, nowMs: number): number {
    if (count === 0) return 0;
    const idleMs = this.sinceMs === null ? 0 : nowMs - this.sinceMs;
    return Math.max(count * (this.intervalMs ?? 0), idleMs);
  }
}
