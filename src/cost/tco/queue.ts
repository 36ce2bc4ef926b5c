/** How many boxes keep a promise: the queue M/M/c (Erlang 1917; Kleinrock, Queueing Systems I, 1975, section 3.5). */

/** A plan with more servers than this isn't one for boxes. */
export const SERVERS_MAX = 10_000;

/** Share of the requests whose wait counts. */
const SHARE = 0.95;

/** Requests come at random at one place. */
export type Arrivals = {
  readonly perS: number;
  /** Mean seconds that one holds a server (one of a box's streams). */
  readonly serviceS: number;
  readonly streams: number;
};

/**
 * Seconds that 95 % of the requests wait at most, given the share that waits at all: beyond it the wait is exponential
 * with the rate at which servers become free, less that of arrivals.
 */
function waitOf({ perS, serviceS }: Arrivals, servers: number, waitingShare: number): number {
  const rate = servers / serviceS - perS;
  return Math.max(0, Math.log(waitingShare / (1 - SHARE)) / rate);
}

/** What was found: null where no number of boxes up to the limit is enough. */
export type Sizing = { readonly boxes: number; readonly waitS: number } | null;

/** The fewest boxes that keep the wait of 95 % of the requests within `waitSMax`. */
export function boxesNeeded(arrivals: Arrivals, waitSMax: number): Sizing {
  const { perS, serviceS, streams } = arrivals;
  const load = perS * serviceS;
  // Erlang's B, server by server: B(c) = aB(c − 1) ÷ (c + aB(c − 1)).
  let blocked = 1;
  for (let servers = 1; servers <= SERVERS_MAX; ++servers) {
    blocked = (load * blocked) / (servers + load * blocked);
    if (servers % streams !== 0 || servers <= load) continue;
    // Erlang's C from B.
    const waiting = blocked / (1 - (load / servers) * (1 - blocked));
    const waitS = waitOf(arrivals, servers, waiting);
    if (waitS <= waitSMax) return { boxes: servers / streams, waitS };
  }
  return null;
}
