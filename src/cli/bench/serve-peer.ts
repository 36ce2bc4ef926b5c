/** `bench serve --peer`: the same loads on llama.cpp's own server, in alternation with ours. */
import { installPython, referenceScript } from './peer-install.js';
import type { Progress } from './progress.js';
import type { ServeLoad } from './serve-load.js';
import { type ServerProcess, startProgram } from './server-process.js';
import { rounded, type Spread, spread } from './statistics.js';

/** A load is one request of each client, at least these, and runs to its end: no server is cut off in an answer. */
const REQUESTS_MIN = 4;

export type PeerServeRun = {
  readonly concurrency: number;
  readonly ours: Spread;
  readonly theirs: Spread;
  /** Ours ÷ theirs within each round. */
  readonly ratio: Spread;
  readonly errors: number;
};

type PeerServerOptions = {
  readonly home: string | null;
  readonly offline: boolean;
  readonly modelPath: string;
  readonly threads: number;
  readonly clients: number;
  /** Of one request, prompt and output. */
  readonly tokens: number;
  /** Whether prompts have a prefix in common that is worth keeping. */
  readonly keepsPrompts: boolean;
};

/** How the peer is set up; tools/reference/llama_server.py does it. */
export const peerServerSettings = ({
  threads,
  clients,
  keepsPrompts,
}: Pick<PeerServerOptions, 'threads' | 'clients' | 'keepsPrompts'>): string =>
  `threads ${threads}, flash attention, continuous batching in ${clients} slots, batch 2048 / 512, ` +
  `${keepsPrompts ? 'each slot keeps its prompt' : 'no prompt cache'}`;

export async function startPeerServer(options: PeerServerOptions): Promise<ServerProcess> {
  const numbers = [options.threads, options.clients, options.tokens, Number(options.keepsPrompts)].map(String);
  const script = referenceScript('llama_server.py');
  return startProgram(await installPython(options), [script, options.modelPath, ...numbers]);
}

/** Output tokens per second of both at each concurrency; the first round of each only warms up. */
export async function runAgainst(
  load: Omit<ServeLoad, 'concurrency' | 'seconds' | 'requests' | 'url'>,
  urls: { readonly ours: string; readonly theirs: string },
  concurrencies: readonly number[],
  rounds: number,
  progress: Progress,
): Promise<PeerServeRun[]> {
  const { measureThroughput } = await import('./serve-load.js');
  const runs: PeerServeRun[] = [];
  let prompts = 0;
  for (const concurrency of concurrencies) {
    const requests = Math.max(REQUESTS_MIN, concurrency);
    const pairs: { readonly ours: number; readonly theirs: number }[] = [];
    let errors = 0;
    progress.start(`${concurrency} clients, both servers`, rounds + 1);
    for (let round = 0; round <= rounds; ++round) {
      const measure = async (url: string) => {
        const result = await measureThroughput({ ...load, url, concurrency, seconds: 0, requests }, prompts);
        errors += result.errors;
        return result.outputTokensPerS;
      };
      const isOursFirst = round % 2 === 0;
      const first = await measure(isOursFirst ? urls.ours : urls.theirs);
      const second = await measure(isOursFirst ? urls.theirs : urls.ours);
      prompts += requests; // both get the same prompts, no round those of another
      if (round > 0) pairs.push(isOursFirst ? { ours: first, theirs: second } : { ours: second, theirs: first });
      progress.update(round + 1);
    }
    runs.push({ concurrency, ...summarizePairs(pairs), errors });
  }
  return runs;
}

export function summarizePairs(pairs: readonly { readonly ours: number; readonly theirs: number }[]) {
  return {
    ours: rounded(spread(pairs.map(({ ours }) => ours))),
    theirs: rounded(spread(pairs.map(({ theirs }) => theirs))),
    ratio: rounded(spread(pairs.map(({ ours, theirs }) => ours / theirs))),
  };
}
