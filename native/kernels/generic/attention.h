#pragma once
// Attention over one split of 256 positions; definition: reference/attention.cpp. Included inside a level's anonymous
// namespace.
//
// Query heads that share a KV head, and the queries of a chunk, are columns, up to 6 of which are a tile: scores into
// `scratch`, softmax in place, outputs.
//
// One query (decode) is bound by memory: keys and values are widened as they are read, once for all columns, while the
// lines of four blocks further on are prefetched (blocks lie scattered in the pool, so that the hardware sees streams
// of a few kB; at the end of a split come the first keys of the task that the thread runs next). Several queries
// (prefill) are bound by arithmetic: the split is widened once for all of them, and stays in the L2 cache.
//
// Columns of a tile may see different numbers of positions (causal mask): the outputs take what all of them see
// together, then the few remaining rows column by column, since a row of V that a column doesn't see must not enter its
// sum, not even times zero (NaN, and the sign of zero).

constexpr size_t kSplitBlocks = kSplitTokens / kKvBlockTokens;
constexpr size_t kHeadDimMax = 256;
/// How far ahead lines are prefetched: enough for the latency of memory, little enough for the L1 cache.
constexpr size_t kBlocksAhead = 4;

NIBBLE_INLINE size_t smaller(size_t a, size_t b) noexcept {
  return a < b ? a : b;
}

/// Positions of the split that query i sees.
NIBBLE_INLINE size_t visible_positions(const AttentionTask& task, size_t i) noexcept {
  const size_t seen = task.first_position + i + 1;
  const size_t start = task.split * kSplitTokens;
  return seen <= start ? 0 : smaller(seen - start, kSplitTokens);
}

NIBBLE_INLINE const uint8_t* pool_block(const AttentionTask& task, const int32_t* id) noexcept {
  return task.pool + static_cast<size_t>(*id) * task.block_bytes;
}
NIBBLE_INLINE const uint8_t* split_block(const AttentionTask& task, size_t b) noexcept {
  return pool_block(task, task.blocks + task.split * kSplitBlocks + b);
}

NIBBLE_INLINE void prefetch(const uint8_t* p) noexcept {
  __builtin_prefetch(p, 0, 3);
}

/// Copies the query of each column: q[c][head_dim].
NIBBLE_INLINE void gather_queries(const AttentionTask& task, float* q, size_t columns) noexcept {
  for (size_t c = 0; c < columns; ++c) {
    const float* from = task.q + c / task.group * task.q_stride + c % task.group * task.head_dim;
    __builtin_memcpy(q + c * task.head_dim, from, task.head_dim * sizeof(float));
  }
}

// --- One query: read, widen and use at once. -----------------------------------------------------------------------

/// scratch[c][16·(b + v) + lane] = q_c · k, for V blocks and C columns.
template <size_t V, size_t C>
NIBBLE_INLINE void score_blocks(const uint8_t* const (&k)[V], const uint8_t* const (&ahead)[V], const float* q,
                                size_t head_dim, float* out) noexcept {
  F32x16 acc[C][V];
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) acc[c][v] = zero();
  constexpr size_t kStep = kKvBlockTokens * sizeof(uint16_t);
  for (size_t d = 0; d < head_dim; d += 2) {
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + d * kStep);
    for (size_t i = d; i < d + 2; ++i) {
      F32x16 keys[V];
      for (size_t v = 0; v < V; ++v) keys[v] = load_f16(reinterpret_cast<const uint16_t*>(k[v] + i * kStep));
      for (size_t c = 0; c < C; ++c) {
        const F32x16 query = set1(q[c * head_dim + i]);
        for (size_t v = 0; v < V; ++v) acc[c][v] = fma(keys[v], query, acc[c][v]);
      }
    }
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) store(out + c * kSplitTokens + v * kKvBlockTokens, acc[c][v]);
}

template <size_t C>
void scores_few(const AttentionTask& task, const float* q, size_t blocks) noexcept {
  constexpr size_t kVectors = vectors_for(C);
  size_t b = 0;
  // What is read that much later: keys of the same split, then its values.
  const auto ahead = [&](size_t block) {
    return block < blocks ? split_block(task, block) + task.k_offset
                          : split_block(task, smaller(block - blocks, blocks - 1)) + task.v_offset;
  };
  for (; b + kVectors <= blocks; b += kVectors) {
    const uint8_t* k[kVectors];
    const uint8_t* next[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      k[v] = split_block(task, b + v) + task.k_offset;
      next[v] = ahead(b + v + kBlocksAhead);
    }
    score_blocks<kVectors, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
  for (; b < blocks; ++b) {
    const uint8_t* const k[1] = {split_block(task, b) + task.k_offset};
    const uint8_t* const next[1] = {ahead(b + kBlocksAhead)};
    score_blocks<1, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
}

/// o[c][16·v + lane] = Σ_t p · v over `tokens` positions, for V vectors of dimensions and C columns.
template <size_t V, size_t C>
NIBBLE_INLINE void value_vectors(const AttentionTask& task, size_t d, size_t tokens) noexcept {
  F32x16 acc[C][V];
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) acc[c][v] = zero();
  const size_t blocks = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t row = task.head_dim * sizeof(uint16_t);
  for (size_t b = 0; b < blocks; ++b) {
    const size_t later = b + kBlocksAhead;
    const uint8_t* values = split_block(task, b) + task.v_offset + d * sizeof(uint16_t);
    const uint8_t* ahead = values;
    if (later < blocks) {
      ahead = split_block(task, later) + task.v_offset + d * sizeof(uint16_t);
    } else if (later - blocks < task.next_count) {
      ahead = pool_block(task, task.next_blocks + (later - blocks)) + task.next_k_offset + d * sizeof(uint16_t);
    }
    const float* p = task.scratch + b * kKvBlockTokens;
    const size_t count = smaller(tokens - b * kKvBlockTokens, kKvBlockTokens);
    for (size_t t = 0; t < count; ++t) {
      F32x16 value[V];
      for (size_t v = 0; v < V; ++v) {
        if (v % 2 == 0) prefetch(ahead + t * row + 32 * v);
        value[v] = load_f16(reinterpret_cast<const uint16_t*>(values + t * row) + 16 * v);
      }
      for (size_t c = 0; c < C; ++c) {
        const F32x16 weight = set1(p[c * kSplitTokens + t]);
        for (size_t v = 0; v < V; ++v) acc[c][v] = fma(value[v], weight, acc[c][v]);
      }
    }
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) store(task.o + c * task.head_dim + d + 16 * v, acc[c][v]);
}

template <size_t C>
void values_few(const AttentionTask& task, size_t tokens) noexcept {
  constexpr size_t kVectors = vectors_for(C);
  size_t d = 0;
  for (; d + 16 * kVectors <= task.head_dim; d += 16 * kVectors) value_vectors<kVectors, C>(task, d, tokens);
  for (; d < task.head_dim; d += 16) value_vectors<1, C>(task, d, tokens);
}

// --- Several queries: widen the split, then multiply. --------------------------------------------------------------

/// out[c][16·v + lane] (+)= Σ_s w[s][v][lane] · x[c][s]
struct PanelJob {
  const float* w;
  size_t w_vector;  // floats from one vector of outputs to the next
  size_t w_step;    // and from one input to the next
  const float* x;
  size_t x_stride;
  size_t steps;
  bool start;  // from +0, else from what `out` holds
  float* out;
  size_t out_stride;
};

template <size_t V, size_t C>
void panel_tile(const PanelJob& job) noexcept {
  const float* w = job.w;
  const float* x = job.x;
  const size_t w_vector = job.w_vector;
  const size_t x_stride = job.x_stride;
  F32x16 acc[C][V];
  if (job.start) {
    for (size_t c = 0; c < C; ++c)
      for (size_t v = 0; v < V; ++v) acc[c][v] = zero();
  } else {
    for (size_t c = 0; c < C; ++c)
      for (size_t v = 0; v < V; ++v) acc[c][v] = load(job.out + c * job.out_stride + 16 * v);
  }
  for (size_t s = 0; s < job.steps; ++s) {
    F32x16 weights[V];
    for (size_t v = 0; v < V; ++v) weights[v] = load(w + v * w_vector);
    for (size_t c = 0; c < C; ++c) {
      const F32x16 input = set1(x[c * x_stride]);
      for (size_t v = 0; v < V; ++v) acc[c][v] = fma(weights[v], input, acc[c][v]);
    }
    w += job.w_step;
    ++x;
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) store(job.out + c * job.out_stride + 16 * v, acc[c][v]);
}

using PanelKernel = void (*)(const PanelJob&) noexcept;
template <size_t V, size_t C>
constexpr PanelKernel panel_or_null() noexcept {
  if constexpr (V <= vectors_for(C)) {
    return panel_tile<V, C>;
  } else {
    return nullptr;
  }
}
/// [V − 1][C − 1]
constexpr PanelKernel kPanelTiles[4][kColumnsMax] = {
    {panel_or_null<1, 1>(), panel_or_null<1, 2>(), panel_or_null<1, 3>(), panel_or_null<1, 4>(), panel_or_null<1, 5>(),
     panel_or_null<1, 6>()},
    {panel_or_null<2, 1>(), panel_or_null<2, 2>(), panel_or_null<2, 3>(), panel_or_null<2, 4>(), panel_or_null<2, 5>(),
     panel_or_null<2, 6>()},
    {panel_or_null<3, 1>(), panel_or_null<3, 2>(), panel_or_null<3, 3>(), panel_or_null<3, 4>(), panel_or_null<3, 5>(),
     panel_or_null<3, 6>()},
    {panel_or_null<4, 1>(), panel_or_null<4, 2>(), panel_or_null<4, 3>(), panel_or_null<4, 4>(), panel_or_null<4, 5>(),
     panel_or_null<4, 6>()},
};
NIBBLE_INLINE void run_panel(size_t vectors, size_t columns, const PanelJob& job) noexcept {
  kPanelTiles[vectors - 1][columns - 1](job);
}

/// Keys of the split as f32, [block][head_dim][16 tokens]; values [token][head_dim].
NIBBLE_INLINE void widen_split(const AttentionTask& task, size_t tokens, float* keys, float* values) noexcept {
  const size_t block_floats = task.head_dim * kKvBlockTokens;
  for (size_t t = 0; t < tokens; t += kKvBlockTokens) {
    const uint8_t* block = split_block(task, t / kKvBlockTokens);
    const auto* k = reinterpret_cast<const uint16_t*>(block + task.k_offset);
    const auto* v = reinterpret_cast<const uint16_t*>(block + task.v_offset);
    for (size_t i = 0; i < block_floats; i += 16) store(keys + t * task.head_dim + i, load_f16(k + i));
    for (size_t i = 0; i < smaller(tokens - t, kKvBlockTokens) * task.head_dim; i += 16)
      store(values + t * task.head_dim + i, load_f16(v + i));
  }
}

/// score[c][t] = q_c · k_t, unscaled, for `columns` neighbouring columns.
NIBBLE_INLINE void scores_tile(const AttentionTask& task, const float* keys, const float* q, size_t columns,
                               size_t blocks, float* score) noexcept {
  const size_t block_floats = task.head_dim * kKvBlockTokens;
  for (size_t b = 0; b < blocks;) {
    const size_t vectors = vectors_of(columns, blocks - b);
    run_panel(vectors, columns,
              {.w = keys + b * block_floats,
               .w_vector = block_floats,
               .w_step = kKvBlockTokens,
               .x = q,
               .x_stride = task.head_dim,
               .steps = task.head_dim,
               .start = true,
               .out = score + b * kKvBlockTokens,
               .out_stride = kSplitTokens});
    b += vectors;
  }
}

/// o[c] (+)= Σ p_t · v_t over positions [from, to) of the split.
NIBBLE_INLINE void values_tile(const AttentionTask& task, const float* values, const float* p, size_t columns,
                               size_t from, size_t to, float* o) noexcept {
  const size_t dims = task.head_dim / 16;
  for (size_t d = 0; d < dims;) {
    const size_t vectors = vectors_of(columns, dims - d);
    run_panel(vectors, columns,
              {.w = values + from * task.head_dim + d * 16,
               .w_vector = 16,
               .w_step = task.head_dim,
               .x = p + from,
               .x_stride = kSplitTokens,
               .steps = to - from,
               .start = from == 0,
               .out = o + d * 16,
               .out_stride = task.head_dim});
    d += vectors;
  }
}

// --- Softmax, and the whole. ---------------------------------------------------------------------------------------

/// Scores of columns [c, c + C), which see as many positions, → exp(scale · score − m), m, l. Several columns at once
/// hide the latency of each other's maximum and sum.
template <size_t C>
NIBBLE_INLINE void softmax(const AttentionTask& task, float* score, size_t c0, size_t visible) noexcept {
  const F32x16 scale = set1(task.scale);
  const F32x16 lowest = set1(-__builtin_inff());
  const size_t whole = visible / 16 * 16;
  const size_t rest = visible - whole;
  F32x16 top[C], sum[C];
  for (size_t c = 0; c < C; ++c) top[c] = lowest;
  for (size_t t = 0; t < whole; t += 16)
    for (size_t c = 0; c < C; ++c) top[c] = max(mul(scale, load(score + c * kSplitTokens + t)), top[c]);
  for (size_t c = 0; c < C; ++c) {
    if (rest > 0) {
      const F32x16 s = mul(scale, load(score + c * kSplitTokens + whole));
      top[c] = max(keep_first(s, lowest, rest), top[c]);
    }
    task.m[c0 + c] = fold_max(top[c]);
    top[c] = set1(task.m[c0 + c]);
    sum[c] = zero();
  }
  for (size_t t = 0; t < whole; t += 16) {
    for (size_t c = 0; c < C; ++c) {
      float* at = score + c * kSplitTokens + t;
      const F32x16 p = exp(sub(mul(scale, load(at)), top[c]));
      store(at, p);
      sum[c] = add(sum[c], p);
    }
  }
  for (size_t c = 0; c < C; ++c) {
    if (rest > 0) {
      float* at = score + c * kSplitTokens + whole;
      const F32x16 p = keep_first(exp(sub(mul(scale, load(at)), top[c])), zero(), rest);
      store(at, p);
      sum[c] = add(sum[c], p);
    }
    task.l[c0 + c] = fold_sum(sum[c]);
  }
}

void softmax_columns(const AttentionTask& task, float* score, size_t c0, size_t columns, size_t visible) noexcept {
  size_t c = 0;
  for (; c + 3 <= columns; c += 3) softmax<3>(task, score + c * kSplitTokens, c0 + c, visible);
  if (columns - c == 2) softmax<2>(task, score + c * kSplitTokens, c0 + c, visible);
  if (columns - c == 1) softmax<1>(task, score + c * kSplitTokens, c0 + c, visible);
}

template <size_t C>
void attention_few(const AttentionTask& task) noexcept {
  alignas(64) float q[C * kHeadDimMax];
  gather_queries(task, q, C);
  const size_t visible = visible_positions(task, 0);
  scores_few<C>(task, q, (visible + kKvBlockTokens - 1) / kKvBlockTokens);
  softmax_columns(task, task.scratch, 0, C, visible);
  values_few<C>(task, visible);
}

void attention_many(const AttentionTask& task) noexcept {
  const size_t columns = task.queries * task.group;
  float* q = task.scratch + kColumnsMax * kSplitTokens;
  float* keys = q + columns * task.head_dim;
  float* values = keys + kSplitTokens * task.head_dim;
  gather_queries(task, q, columns);
  widen_split(task, visible_positions(task, task.queries - 1), keys, values);
  const size_t step = tile_columns(columns);
  for (size_t c0 = 0; c0 < columns; c0 += step) {
    const size_t tile = smaller(columns - c0, step);
    // Later queries see more: the first column of the tile sees the fewest positions.
    const size_t common = visible_positions(task, c0 / task.group);
    const size_t most = visible_positions(task, (c0 + tile - 1) / task.group);
    float* score = task.scratch;
    scores_tile(task, keys, q + c0 * task.head_dim, tile, (most + kKvBlockTokens - 1) / kKvBlockTokens, score);
    if (common == most) {
      softmax_columns(task, score, c0, tile, common);
    } else {
      for (size_t c = 0; c < tile; ++c)
        softmax_columns(task, score + c * kSplitTokens, c0 + c, 1, visible_positions(task, (c0 + c) / task.group));
    }
    float* o = task.o + c0 * task.head_dim;
    values_tile(task, values, score, tile, 0, common, o);
    for (size_t c = 0; c < tile; ++c) {
      const size_t visible = visible_positions(task, (c0 + c) / task.group);
      if (visible > common)
        values_tile(task, values, score + c * kSplitTokens, 1, common, visible, o + c * task.head_dim);
    }
  }
}

void attention(const AttentionTask& task) noexcept {
  count_call();
  if (task.queries > 1) return attention_many(task);
  switch (task.group) {
    case 1:
      return attention_few<1>(task);
    case 2:
      return attention_few<2>(task);
    case 3:
      return attention_few<3>(task);
    case 4:
      return attention_few<4>(task);
    case 5:
      return attention_few<5>(task);
    case 6:
      return attention_few<6>(task);
    default:
      return attention_many(task);
  }
}
