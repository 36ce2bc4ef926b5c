#pragma once
// Attention of several queries (prefill). Included inside a level's anonymous namespace.
//
// It is bound by arithmetic: a split is widened to f32 once for all queries, and stays in the L2 cache while tiles of
// up to 6 columns pass over it, their sums in registers.
//
// Columns of a tile may see different numbers of positions (causal mask): the outputs take what all of them see
// together, then the few remaining rows column by column, since a row of V that a column doesn't see must not enter its
// sum, not even times zero (NaN, and the sign of zero).

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

/// Stored numbers or codes of the split as f32: keys [block][head_dim][16 tokens], values [token][head_dim].
template <KvFormat F>
NIBBLE_INLINE void widen_keys(const AttentionTask& task, size_t tokens, float* keys) noexcept {
  for (size_t t = 0; t < tokens; t += kKvBlockTokens) {
    const uint8_t* codes = keys_of(task, t / kKvBlockTokens) + kv_codes_at(F);
    float* out = keys + t * task.head_dim;
    for (size_t n = 0; n < task.head_dim / 2; ++n, out += 32) {
      F32x16 a, b;
      load_two<F>(codes, n, a, b);
      store(out, a);
      store(out + 16, b);
    }
  }
}
template <KvFormat F>
NIBBLE_INLINE void widen_values(const AttentionTask& task, size_t tokens, float* values) noexcept {
  const size_t dims = task.head_dim / 16;
  const size_t row = kv_value_row_bytes(F, task.head_dim);
  for (size_t t = 0; t < tokens; ++t) {
    const uint8_t* codes = values_of(task, t / kKvBlockTokens) + kv_codes_at(F) + t % kKvBlockTokens * row;
    float* out = values + t * task.head_dim;
    for (size_t n = 0; n + 2 <= dims; n += 2) {
      F32x16 a, b;
      load_two<F>(codes, n / 2, a, b);
      store(out + 16 * n, a);
      store(out + 16 * n + 16, b);
    }
    if (dims % 2 != 0) store(out + 16 * (dims - 1), load_one<F>(codes, dims - 1));
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

void widen_split(const AttentionTask& task, size_t tokens, float* keys, float* values) noexcept {
  switch (task.formats.keys) {
    case KvFormat::f16:
      widen_keys<KvFormat::f16>(task, tokens, keys);
      break;
    case KvFormat::q8:
      widen_keys<KvFormat::q8>(task, tokens, keys);
      break;
    case KvFormat::q4:
      widen_keys<KvFormat::q4>(task, tokens, keys);
      break;
  }
  switch (task.formats.values) {
    case KvFormat::f16:
      widen_values<KvFormat::f16>(task, tokens, values);
      break;
    case KvFormat::q8:
      widen_values<KvFormat::q8>(task, tokens, values);
      break;
    case KvFormat::q4:
      widen_values<KvFormat::q4>(task, tokens, values);
      break;
  }
}

void attention_queries(const AttentionTask& task) noexcept {
  const size_t columns = task.queries * task.group;
  float* score = task.scratch;
  float* q = score + kColumnsMax * kSplitTokens;
  float* keys = q + columns * task.head_dim;
  float* values = keys + kSplitTokens * task.head_dim;
  gather_queries(task, q, columns);
  widen_split(task, visible_positions(task, task.queries - 1), keys, values);
  const size_t step = tile_columns(columns);
  for (size_t c0 = 0; c0 < columns; c0 += step) {
    const size_t tile = smaller(columns - c0, step);
    const auto visible = [&](size_t c) { return visible_positions(task, (c0 + c) / task.group); };
    // Later queries see more: the first column of the tile sees the fewest positions.
    const size_t common = visible(0);
    const size_t blocks = (visible(tile - 1) + kKvBlockTokens - 1) / kKvBlockTokens;
    scores_tile(task, keys, q + c0 * task.head_dim, tile, blocks, score);
    if (task.formats.keys != KvFormat::f16) apply_key_grid(task, q + c0 * task.head_dim, tile, blocks, score);
    if (common == visible(tile - 1)) {
      softmax_columns(task, score, c0, tile, common);
    } else {
      for (size_t c = 0; c < tile; ++c) softmax_columns(task, score + c * kSplitTokens, c0 + c, 1, visible(c));
    }
    float offset[kColumnsMax];
    if (task.formats.values != KvFormat::f16)
      for (size_t c = 0; c < tile; ++c) offset[c] = apply_value_grid(task, visible(c), score + c * kSplitTokens);
    float* o = task.o + c0 * task.head_dim;
    values_tile(task, values, score, tile, 0, common, o);
    for (size_t c = 0; c < tile; ++c) {
      if (visible(c) > common)
        values_tile(task, values, score + c * kSplitTokens, 1, common, visible(c), o + c * task.head_dim);
      if (task.formats.values != KvFormat::f16) add_offset(o + c * task.head_dim, task.head_dim, offset[c]);
    }
  }
}
