import type { Meter } from './types.js';

/**
 * Where there is no sensor: the CPU time of this process times the watts of a busy core, as the operator states them
 * (the processor's TDP divided by its cores). It knows nothing of idle power, of memory, of clock speeds, nor of other
 * processes.
 */
export class CpuTimeMeter implements Meter {
  readonly source = 'tdp';
  readonly description: string;
  private readonly wattsPerCore: number;
  private readonly cpuSeconds: () => number;
  private readonly startSeconds: number;

  constructor(wattsPerCore: number, cpuSeconds: () => number = ownCpuSeconds) {
    this.wattsPerCore = wattsPerCore;
    this.cpuSeconds = cpuSeconds;
    this.startSeconds = cpuSeconds();
    this.description = `CPU time at ${wattsPerCore} W a core`;
  }

  joules(): number {
    return (this.cpuSeconds() - this.startSeconds) * this.wattsPerCore;
  }

  close(): void {}
}

/** Of all threads of this process. */
function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1e-6;
}
