/**
 * Tender's decomposition of an activation tensor (arXiv 2406.12930, section 4): channels are put into groups whose
 * quantization steps are a power of two apart, so that an integer kernel joins the groups by shifting its accumulator.
 *
 * Of the paper: the channel bias, α = 2, the group of a channel from its share of the tensor's largest value, steps per
 * chunk of 256 positions, two candidate assignments. Ours: one order of channels for all chunks, so that the weights'
 * columns are permuted once; position 0 is a chunk of its own; the groups' sizes are rounded up to whole units with the
 * largest channels of the next group, which costs them precision but never clips; a chunk's steps are the smallest that
 * clip nothing under that order, or those that clip nothing of a row.
 */

/** Minima and maxima that calibration saw: `values[(2 · chunk + 0 or 1) · inputs + channel]`. */
export type ChannelRanges = { readonly inputs: number; readonly values: Float32Array };

export type TenderSettings = {
  /** Groups, 1 to 24: the steps of the last are 2^(groups − 1) times finer than those of the first. */
  readonly groups: number;
  /** Largest code: 127 or 7. */
  readonly limit: number;
  /** Whole groups are a multiple of so many channels: 4 (an integer dot product), or 32 (a group of weights). */
  readonly unit: number;
  /** Whether the middle of each channel's range is taken away first. */
  readonly centred: boolean;
  /** `up`: nothing that calibration saw is clipped; `down`: steps up to one power of two finer, which clip. */
  readonly rounding: 'up' | 'down';
};

export type TenderPlan = {
  /** [inputs] the channel at each place, groups one behind the other. */
  readonly order: Int32Array;
  /** [groups] channels of each; multiples of the unit that sum to `inputs`. */
  readonly sizes: Int32Array;
  /**
   * [chunks] step of the first group; group g (from 0) has `scale / 2^g`. The last chunk serves all later ones. Without
   * any, each row has the smallest steps that clip nothing of it.
   */
  readonly scales: Float32Array;
  /** [inputs] by channel. */
  readonly bias: Float32Array;
};

/** Chunks up to the last one that calibration saw; those between that it didn't see count as their predecessor. */
function seenChunks({ inputs, values }: ChannelRanges): number {
  let chunks = values.length / (2 * inputs);
  while (chunks > 0 && values[(chunks - 1) * 2 * inputs] === Number.POSITIVE_INFINITY) chunks -= 1;
  return chunks;
}

/** Middle of each channel, averaged over the chunks; position 0 is left out, since its values stand alone. */
function middles(ranges: ChannelRanges, chunks: number): Float32Array {
  const { inputs, values } = ranges;
  const first = chunks > 1 ? 1 : 0;
  return Float32Array.from({ length: inputs }, (_, channel) => {
    let sum = 0;
    let count = 0;
    for (let chunk = first; chunk < chunks; chunk += 1) {
      const low = values[2 * chunk * inputs + channel] ?? 0;
      const high = values[(2 * chunk + 1) * inputs + channel] ?? 0;
      if (low > high) continue;
      sum += (low + high) / 2;
      count += 1;
    }
    return count === 0 ? 0 : sum / count;
  });
}

/** Largest distance from the bias, [chunks][inputs]. */
export function channelMaxima(ranges: ChannelRanges, bias: Float32Array, chunks: number): Float32Array {
  const { inputs, values } = ranges;
  const maxima = new Float32Array(chunks * inputs);
  for (let chunk = 0; chunk < chunks; chunk += 1) {
    for (let channel = 0; channel < inputs; channel += 1) {
      const low = values[2 * chunk * inputs + channel] ?? 0;
      const high = values[(2 * chunk + 1) * inputs + channel] ?? 0;
      const middle = bias[channel] ?? 0;
      const before = chunk === 0 ? 0 : (maxima[(chunk - 1) * inputs + channel] ?? 0);
      maxima[chunk * inputs + channel] =
        low > high ? before : Math.max(Math.abs(high - middle), Math.abs(low - middle));
    }
  }
  return maxima;
}

/** Largest share of its chunk's largest value that each channel reaches in any chunk, in [0, 1]. */
function largestShares(maxima: Float32Array, inputs: number): Float64Array {
  const shares = new Float64Array(inputs);
  for (let start = 0; start < maxima.length; start += inputs) {
    const chunk = maxima.subarray(start, start + inputs);
    const most = chunk.reduce((top, value) => Math.max(top, value), 0);
    if (most === 0) continue;
    chunk.forEach((value, channel) => {
      shares[channel] = Math.max(shares[channel] ?? 0, value / most);
    });
  }
  return shares;
}

/**
 * Group from 0 of a channel whose share is in (0, 1]: with `up` the last whose step times the limit isn't below the
 * share, with `down` the first whose isn't above it; at most groups − 1.
 */
export function groupOf(share: number, groups: number, rounding: 'up' | 'down'): number {
  let group = 0;
  let top = 1;
  while (group < groups - 1 && (rounding === 'up' ? share <= top / 2 : share < top)) {
    group += 1;
    top /= 2;
  }
  return group;
}

/** Channels by group, then by share, descending; the ends of groups moved up to whole units. */
function arrange(shares: Float64Array, settings: TenderSettings): Pick<TenderPlan, 'order' | 'sizes'> {
  const { groups, unit, rounding } = settings;
  const groupAt = Array.from(shares, (share) => groupOf(share, groups, rounding));
  const sorted = [...shares.keys()].sort((a, b) => {
    return (groupAt[a] ?? 0) - (groupAt[b] ?? 0) || (shares[b] ?? 0) - (shares[a] ?? 0) || a - b;
  });
  const sizes = new Int32Array(groups);
  const order: number[] = [];
  let counted = 0;
  for (let group = 0; group < groups; group += 1) {
    counted += groupAt.filter((at) => at === group).length;
    const end = group === groups - 1 ? sorted.length : Math.min(sorted.length, Math.ceil(counted / unit) * unit);
    sizes[group] = end - order.length;
    // Ascending channels within a group: a gather then walks through memory.
    order.push(...sorted.slice(order.length, end).sort((a, b) => a - b));
  }
  return { order: Int32Array.from(order), sizes };
}

/** Step of the first group per chunk: the smallest under which no channel leaves ±limit in the `up` assignment. */
function chunkScales(maxima: Float32Array, shares: Float64Array, { groups, limit }: TenderSettings): Float32Array {
  const inputs = shares.length;
  const factors = Array.from(shares, (share) => 2 ** groupOf(share, groups, 'up'));
  return Float32Array.from({ length: maxima.length / inputs }, (_, chunk) => {
    const reach = factors.reduce((top, factor, channel) => {
      return Math.max(top, (maxima[chunk * inputs + channel] ?? 0) * factor);
    }, 0);
    return reach / limit;
  });
}

/** Throws a plain Error if nothing was recorded: it is a bug of the caller. */
export function planTender(ranges: ChannelRanges, settings: TenderSettings): TenderPlan {
  const chunks = seenChunks(ranges);
  if (chunks === 0 || ranges.inputs % settings.unit !== 0) throw new Error('no ranges, or no whole units');
  const bias = settings.centred ? middles(ranges, chunks) : new Float32Array(ranges.inputs);
  const maxima = channelMaxima(ranges, bias, chunks);
  const shares = largestShares(maxima, ranges.inputs);
  return { ...arrange(shares, settings), scales: chunkScales(maxima, shares, settings), bias };
}

/** [inputs] 2^group of each channel: how many times finer its steps are than those of the first group. */
export function finerBy({ order, sizes }: Pick<TenderPlan, 'order' | 'sizes'>): Float64Array {
  const finer = new Float64Array(order.length);
  let place = 0;
  sizes.forEach((size, group) => {
    for (const end = place + size; place < end; place += 1) finer[order[place] ?? 0] = 2 ** group;
  });
  return finer;
}

/**
 * The largest magnitude that the shifted accumulator of a plan can reach: Σ size_g · limitX · limitW · 2^(G − 1 − g).
 * It must stay below 2³¹ for 32 bits. A double holds it exactly up to 2⁵³.
 */
export function accumulatorMax(sizes: ArrayLike<number>, limitX: number, limitW: number): number {
  return Array.from(sizes).reduce((sum, size) => 2 * sum + size * limitX * limitW, 0);
}
