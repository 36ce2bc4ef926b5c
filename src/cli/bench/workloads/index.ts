import type { Workload } from './types.js';

/** `--workload NAME`, each loaded when it is run. */
export const workloads = {
  overhead: async (...args) => (await import('./overhead.js')).overhead(...args),
  'long-prompt': async (...args) => (await import('./long-prompt.js')).longPrompt(...args),
  'shared-prefix': async (...args) => (await import('./shared-prefix.js')).sharedPrefix(...args),
  trace: async (...args) => (await import('./trace.js')).trace(...args),
  summarize: async (...args) => (await import('./summarize.js')).summarize(...args),
} as const satisfies Readonly<Record<string, Workload>>;

export type WorkloadName = keyof typeof workloads;
