/** Loads of `bench serve` beside the plain one: each a question of its own about a server under load. */
import type { Config } from '../../../config.js';
import type { ServerProcess } from '../server-process.js';

/** What every workload runs on. */
export type WorkloadHost = {
  readonly config: Config;
  readonly model: {
    readonly path: string;
    readonly id: string;
    /** Ids in [0, vocab) are valid prompts. */
    readonly vocab: number;
    readonly contextTokens: number;
  };
  readonly threads: number;
  /** Starts a server of the model with further flags of `nibble serve`; the workload stops it. */
  start(flags?: readonly string[]): Promise<ServerProcess>;
};

/** Of comparisons, unless the flags say so or the workload knows better. */
export const ROUNDS_DEFAULT = 5;

/** Options of the command, as far as they were given; each workload has its own defaults. */
export type WorkloadFlags = {
  readonly concurrency?: readonly number[];
  readonly prompt?: number;
  readonly generate?: number;
  readonly seconds?: number;
  readonly rounds?: number;
  /** As `nibble simulate` reads it. */
  readonly trace?: string;
};

/** For people, and the command's own fields of the JSON result. */
export type WorkloadReport = { readonly text: string; readonly result: Readonly<Record<string, unknown>> };

export type Workload = (host: WorkloadHost, flags: WorkloadFlags) => Promise<WorkloadReport>;
