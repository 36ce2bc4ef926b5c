#pragma once
// The one float multiply: C columns × V vectors of 16 outputs, accumulators in registers, inputs ascending.
// Linear layers use it with lane = output row, attention scores with lane = token, attention outputs with
// lane = dimension. Included inside a level's anonymous namespace.

struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};
NIBBLE_INLINE F32x16 load(const F16* p) noexcept {
  return load_f16(reinterpret_cast<const uint16_t*>(p));
}
NIBBLE_INLINE F32x16 load(const Bf16* p) noexcept {
  return load_bf16(reinterpret_cast<const uint16_t*>(p));
}

/// out[c][16·v + lane] = start + Σ_s w[v][s][lane] · x[c][s], then + bias, then out + that if `accumulate`.
template <class Element>
struct TileJob {
  const Element* const* w;  // [segments][V]: where vector v begins in each segment
  size_t w_step;            // elements from one input to the next
  size_t segment_steps;     // inputs in a segment; the last one may be shorter
  size_t steps;             // inputs in all, ≥ 0
  const float* x;           // column c at x + c · x_stride
  size_t x_stride;
  const float* start;  // [C][out_stride] sums so far, or null for +0
  const float* bias;   // [16·V] or null
  bool accumulate;
  float* out;
  size_t out_stride;
  size_t skip = 0;  // elements from the end of a vector's segment to what the next tile reads first in its place
};

/// 16-bit weights are asked for this long before their use, shared among the vectors: 8 KiB, so that what is under way
/// fits into any L1 cache. 4 KiB cost 3 % at one column, 16 KiB 4 %; none 25 %, at 8 columns 40 %.
constexpr size_t kPrefetchElements = 4096;

template <class Element, size_t V, size_t C>
void tile(const TileJob<Element>& job) noexcept {
  F32x16 acc[C][V];
  const float* x[C];
  for (size_t c = 0; c < C; ++c) {
    x[c] = job.x + c * job.x_stride;
    for (size_t v = 0; v < V; ++v)
      acc[c][v] = job.start != nullptr ? load(job.start + c * job.out_stride + 16 * v) : zero();
  }
  const Element* const* segment = job.w;
  for (size_t done = 0; done < job.steps; done += job.segment_steps, segment += V) {
    const size_t left = job.steps - done;
    const size_t count = left < job.segment_steps ? left : job.segment_steps;
    const Element* w[V];
    for (size_t v = 0; v < V; ++v) w[v] = segment[v];
    const auto step = [&](size_t s) __attribute__((always_inline)) {
      F32x16 weights[V];
      for (size_t v = 0; v < V; ++v) weights[v] = load(w[v] + s * job.w_step);
      for (size_t c = 0; c < C; ++c) {
        const F32x16 input = set1(x[c][done + s]);
        for (size_t v = 0; v < V; ++v) acc[c][v] = fma(weights[v], input, acc[c][v]);
      }
    };
    constexpr size_t kAhead = kPrefetchElements / V;
    const size_t inside = count * job.w_step > kAhead ? count * job.w_step - kAhead : 0;
    size_t s = 0;
    for (; s + 2 <= count; s += 2) {
      // Two inputs of 16-bit weights are one cache line. (f32 comes from panels in the L1 cache, or fast enough.)
      if constexpr (sizeof(Element) == 2) {
        const size_t at = s * job.w_step;
        const size_t ahead = at + kAhead + (at < inside ? 0 : job.skip);
        for (size_t v = 0; v < V; ++v) __builtin_prefetch(w[v] + ahead, 0, 3);
      }
      step(s);
      step(s + 1);
    }
    if (s < count) step(s);
  }
  for (size_t c = 0; c < C; ++c) {
    for (size_t v = 0; v < V; ++v) {
      F32x16 value = acc[c][v];
      if (job.bias != nullptr) value = add(value, load(job.bias + 16 * v));
      float* out = job.out + c * job.out_stride + 16 * v;
      store(out, job.accumulate ? add(load(out), value) : value);
    }
  }
}

template <class Element>
using TileKernel = void (*)(const TileJob<Element>&) noexcept;

template <class Element, size_t V, size_t C>
constexpr TileKernel<Element> tile_or_null() noexcept {
  if constexpr (V <= vectors_for(C)) {
    return tile<Element, V, C>;
  } else {
    return nullptr;
  }
}

/// [V − 1][C − 1]
template <class Element>
constexpr TileKernel<Element> kTiles[4][kColumnsMax] = {
    {tile_or_null<Element, 1, 1>(), tile_or_null<Element, 1, 2>(), tile_or_null<Element, 1, 3>(),
     tile_or_null<Element, 1, 4>(), tile_or_null<Element, 1, 5>(), tile_or_null<Element, 1, 6>()},
    {tile_or_null<Element, 2, 1>(), tile_or_null<Element, 2, 2>(), tile_or_null<Element, 2, 3>(),
     tile_or_null<Element, 2, 4>(), tile_or_null<Element, 2, 5>(), tile_or_null<Element, 2, 6>()},
    {tile_or_null<Element, 3, 1>(), tile_or_null<Element, 3, 2>(), tile_or_null<Element, 3, 3>(),
     tile_or_null<Element, 3, 4>(), tile_or_null<Element, 3, 5>(), tile_or_null<Element, 3, 6>()},
    {tile_or_null<Element, 4, 1>(), tile_or_null<Element, 4, 2>(), tile_or_null<Element, 4, 3>(),
     tile_or_null<Element, 4, 4>(), tile_or_null<Element, 4, 5>(), tile_or_null<Element, 4, 6>()},
};
constexpr size_t kVectorsMax = 4;

/// How many vectors to take at once: what suits `columns`; what is left, if less; and halves if that leaves a few,
/// since one vector's sums alone wait for each other.
NIBBLE_INLINE size_t vectors_of(size_t columns, size_t left) noexcept {
  const size_t vectors = vectors_for(columns);
  if (left <= vectors) return left;
  return left < 2 * vectors ? (left + 1) / 2 : vectors;
}
template <class Element>
NIBBLE_INLINE void run_tile(size_t vectors, size_t columns, const TileJob<Element>& job) noexcept {
  kTiles<Element>[vectors - 1][columns - 1](job);
}

/// Cuts `columns` into equal tiles of at most kColumnsMax: the size of the tiles (the last may be smaller).
NIBBLE_INLINE size_t tile_columns(size_t columns) noexcept {
  const size_t tiles = (columns + kColumnsMax - 1) / kColumnsMax;
  return (columns + tiles - 1) / tiles;
}
