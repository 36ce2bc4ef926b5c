import { type ResourceLimits, Worker } from 'node:worker_threads';

/**
 * Starts a module as a thread. `base` is the `import.meta.url` of the caller, `entry` the path of the module from there
 * without its ending. Run from the sources, a thread doesn't inherit the TypeScript loader (tsx), so it registers that
 * first; the compiled package goes straight to the `.js`.
 */
export function startThread(
  base: string,
  entry: string,
  options: {
    readonly name: string;
    readonly workerData: unknown;
    readonly env?: NodeJS.ProcessEnv;
    readonly resourceLimits?: ResourceLimits;
  },
): Worker {
  if (!base.endsWith('.ts')) return new Worker(new URL(`${entry}.js`, base), options);
  const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const url = JSON.stringify(new URL(`${entry}.ts`, base).href);
  const boot = `import(${loader}).then((tsx) => { tsx.register(); return import(${url}); });`;
  return new Worker(boot, { ...options, eval: true });
}
