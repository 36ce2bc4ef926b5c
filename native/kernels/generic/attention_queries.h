#pragma once
// Attention of several queries (prefill). Included inside a level's anonymous namespace.
//
// It is bound by arithmetic: a split is widened once for all queries (to f32, codes to 16 bits), and stays in the L2
// cache while tiles of up to 6 columns pass over it, their sums in registers.
//
// Columns of a tile may see different numbers of positions (causal mask). Weights of codes are 0 where a column sees
// nothing. Of f16 the outputs take what all columns see together, then the few remaining rows column by column, since
// a row of V that a column doesn't see must not enter its sum, not even times zero (NaN, and the sign of zero).

/// out[c][16·v + lane] (+)= Σ_s w[s][v][lane] · x[c][s]
template <class N>
struct PanelJob {
  const typename N::Number* w;
  size_t w_vector;  // numbers from one vector of outputs to the next
  size_t w_step;    // and from one input to the next, or from one pair to the next
  const typename N::Number* x;
  size_t x_stride;
  size_t steps;
  const float* start;  // sums so far, as `out`; null: none
  float* out;
  size_t out_stride;
};

template <class N, size_t V, size_t C>
void panel_tile(const PanelJob<N>& job) noexcept {
  constexpr size_t kAll = V * kParts;
  constexpr size_t kPartNumbers = kVectorNumbers<N> / kParts;
  const typename N::Number* w = job.w;
  const typename N::Number* x = job.x;
  const size_t w_vector = job.w_vector;
  const size_t x_stride = job.x_stride;
  typename N::Sum acc[C][kAll];
  clear<N, V, C>(acc);
  if constexpr (N::kTogether == 1) {
    if (job.start != nullptr)
      for (size_t c = 0; c < C; ++c)
        for (size_t i = 0; i < kAll; ++i) acc[c][i] = N::load(job.start + c * job.out_stride + 16 / kParts * i);
  }
  for (size_t s = 0; s < job.steps; ++s) {
    typename N::Operand parts[kAll];
    for (size_t i = 0; i < kAll; ++i) parts[i] = N::load(w + i / kParts * w_vector + i % kParts * kPartNumbers);
    for (size_t c = 0; c < C; ++c) {
      const typename N::Operand input = N::set1(x + c * x_stride);
      for (size_t i = 0; i < kAll; ++i) acc[c][i] = N::add_product(parts[i], input, acc[c][i]);
    }
    w += job.w_step;
    x += N::kTogether;
  }
  store_sums<N, V, C>(acc, job.out, job.out_stride);
}

template <class N>
using PanelKernel = void (*)(const PanelJob<N>&) noexcept;
template <class N, size_t V, size_t C>
constexpr PanelKernel<N> panel_or_null() noexcept {
  if constexpr (V <= vectors_for(C)) {
    return panel_tile<N, V, C>;
  } else {
    return nullptr;
  }
}
/// [V − 1][C − 1]
template <class N>
constexpr PanelKernel<N> kPanelTiles[4][kColumnsMax] = {
    {panel_or_null<N, 1, 1>(), panel_or_null<N, 1, 2>(), panel_or_null<N, 1, 3>(), panel_or_null<N, 1, 4>(),
     panel_or_null<N, 1, 5>(), panel_or_null<N, 1, 6>()},
    {panel_or_null<N, 2, 1>(), panel_or_null<N, 2, 2>(), panel_or_null<N, 2, 3>(), panel_or_null<N, 2, 4>(),
     panel_or_null<N, 2, 5>(), panel_or_null<N, 2, 6>()},
    {panel_or_null<N, 3, 1>(), panel_or_null<N, 3, 2>(), panel_or_null<N, 3, 3>(), panel_or_null<N, 3, 4>(),
     panel_or_null<N, 3, 5>(), panel_or_null<N, 3, 6>()},
    {panel_or_null<N, 4, 1>(), panel_or_null<N, 4, 2>(), panel_or_null<N, 4, 3>(), panel_or_null<N, 4, 4>(),
     panel_or_null<N, 4, 5>(), panel_or_null<N, 4, 6>()},
};
template <class N>
NIBBLE_INLINE void run_panel(size_t vectors, size_t columns, const PanelJob<N>& job) noexcept {
  kPanelTiles<N>[vectors - 1][columns - 1](job);
}

/// Stored numbers or codes of the split, wider: keys [block][head_dim/n][16 tokens][n], values [token/n][head_dim][n],
/// where n are taken together.
template <KvFormat F>
NIBBLE_INLINE void widen_keys(const AttentionTask& task, size_t tokens, typename Numbers<F>::Number* keys) noexcept {
  using N = Numbers<F>;
  constexpr size_t kPartNumbers = kVectorNumbers<N> / kParts;
  for (size_t t = 0; t < tokens; t += kKvBlockTokens) {
    const uint8_t* codes = keys_of(task, t / kKvBlockTokens) + kv_codes_at(F);
    typename N::Number* out = keys + t * task.head_dim;
    for (size_t n = 0; n < task.head_dim / N::kTogether; n += 2)
      for (size_t i = 0; i < 2 * kParts; ++i, out += kPartNumbers)
        N::store_operand(out, load_part<F>(codes, n + i / kParts, i % kParts));
  }
}
template <KvFormat F>
NIBBLE_INLINE void widen_values(const AttentionTask& task, size_t tokens,
                                typename Numbers<F>::Number* values) noexcept {
  using N = Numbers<F>;
  constexpr size_t kPartNumbers = kVectorNumbers<N> / kParts;
  const size_t dims = task.head_dim / 16;
  const size_t row = N::kTogether * kv_value_row_bytes(F, task.head_dim);
  typename N::Number* out = values;
  for (size_t t = 0; t < tokens; t += N::kTogether) {
    const size_t within = t % kKvBlockTokens / N::kTogether;
    const uint8_t* codes = values_of(task, t / kKvBlockTokens) + kv_codes_at(F) + within * row;
    for (size_t n = 0; n < dims; ++n)
      for (size_t p = 0; p < kParts; ++p, out += kPartNumbers) N::store_operand(out, load_part<F>(codes, n, p));
  }
}

/// score[c][t] = q_c · k_t, unscaled, for `columns` neighbouring columns.
template <class N>
NIBBLE_INLINE void scores_tile(const AttentionTask& task, const typename N::Number* keys, const typename N::Number* q,
                               size_t columns, size_t blocks, float* score) noexcept {
  const size_t block_numbers = task.head_dim * kKvBlockTokens;
  for (size_t b = 0; b < blocks;) {
    const size_t vectors = vectors_of(columns, blocks - b);
    run_panel<N>(vectors, columns,
                 {.w = keys + b * block_numbers,
                  .w_vector = block_numbers,
                  .w_step = kVectorNumbers<N>,
                  .x = q,
                  .x_stride = task.head_dim,
                  .steps = task.head_dim / N::kTogether,
                  .start = nullptr,
                  .out = score + b * kKvBlockTokens,
                  .out_stride = kSplitTokens});
    b += vectors;
  }
}

/// o[c] (+)= Σ p_t · v_t over positions [from, to) of the split; of codes, from 0, and to the next even one.
template <class N>
NIBBLE_INLINE void values_tile(const AttentionTask& task, const typename N::Number* values, const typename N::Number* p,
                               size_t columns, size_t from, size_t to, float* o) noexcept {
  const size_t dims = task.head_dim / 16;
  for (size_t d = 0; d < dims;) {
    const size_t vectors = vectors_of(columns, dims - d);
    float* out = o + d * 16;
    run_panel<N>(vectors, columns,
                 {.w = values + from * task.head_dim + d * kVectorNumbers<N>,
                  .w_vector = kVectorNumbers<N>,
                  .w_step = N::kTogether * task.head_dim,
                  .x = p + from,
                  .x_stride = kSplitTokens,
                  .steps = (to - from + N::kTogether - 1) / N::kTogether,
                  .start = from == 0 ? nullptr : out,
                  .out = out,
                  .out_stride = task.head_dim});
    d += vectors;
  }
}

/// One side of the split, wide, in memory that holds as many floats.
struct Panel {
  float* floats;
  int16_t* integers;
};
NIBBLE_INLINE Panel panel_at(float* memory) noexcept {
  return {memory, reinterpret_cast<int16_t*>(memory)};
}

void widen_split(const AttentionTask& task, size_t tokens, Panel keys, Panel values) noexcept {
  switch (task.formats.keys) {
    case KvFormat::f16:
      widen_keys<KvFormat::f16>(task, tokens, keys.floats);
      break;
    case KvFormat::q8:
      widen_keys<KvFormat::q8>(task, tokens, keys.integers);
      break;
    case KvFormat::q4:
      widen_keys<KvFormat::q4>(task, tokens, keys.integers);
      break;
  }
  switch (task.formats.values) {
    case KvFormat::f16:
      widen_values<KvFormat::f16>(task, tokens, values.floats);
      break;
    case KvFormat::q8:
      widen_values<KvFormat::q8>(task, tokens, values.integers);
      break;
    case KvFormat::q4:
      widen_values<KvFormat::q4>(task, tokens, values.integers);
      break;
  }
}

/// Outputs of neighbouring columns from their softmax weights, f16 values. @param visible positions of each column,
/// ascending
template <class Visible>
NIBBLE_INLINE void outputs_tile(const AttentionTask& task, const float* values, const float* p, size_t columns,
                                const Visible& visible, float* o) noexcept {
  const size_t common = visible(0);
  values_tile<Floats>(task, values, p, columns, 0, common, o);
  for (size_t c = 0; c < columns; ++c)
    if (visible(c) > common)
      values_tile<Floats>(task, values, p + c * kSplitTokens, 1, common, visible(c), o + c * task.head_dim);
}
/// The same of codes. @param p is changed
template <class Visible>
NIBBLE_INLINE void outputs_tile_of_codes(const AttentionTask& task, const int16_t* values, float* p, size_t columns,
                                         const Visible& visible, float* o) noexcept {
  alignas(64) int16_t codes[kColumnsMax * kSplitTokens];
  RoundedWeights rounded[kColumnsMax];
  const size_t most = visible(columns - 1);
  for (size_t c = 0; c < columns; ++c) {
    const size_t seen = visible(c);
    int16_t* weights = codes + c * kSplitTokens;
    rounded[c] = round_weights(task, seen, p + c * kSplitTokens, weights);
    for (size_t t = (seen + 15) / 16 * 16; t < most + most % 2; ++t) weights[t] = 0;
  }
  values_tile<Integers>(task, values, codes, columns, 0, most, o);
  for (size_t c = 0; c < columns; ++c) apply_value_grid(rounded[c], task.head_dim, o + c * task.head_dim);
}

void attention_queries(const AttentionTask& task) noexcept {
  const size_t columns = task.queries * task.group;
  float* score = task.scratch;
  float* q = score + kColumnsMax * kSplitTokens;
  const Panel keys = panel_at(q + columns * task.head_dim);
  const Panel values = panel_at(keys.floats + kSplitTokens * task.head_dim);
  gather_queries(task, q, columns);
  widen_split(task, visible_positions(task, task.queries - 1), keys, values);
  const bool key_codes = task.formats.keys != KvFormat::f16;
  const size_t step = tile_columns(columns);
  for (size_t c0 = 0; c0 < columns; c0 += step) {
    const size_t tile = smaller(columns - c0, step);
    const auto visible = [&](size_t c) { return visible_positions(task, (c0 + c) / task.group); };
    // Later queries see more: the first column of the tile sees the fewest positions.
    const size_t common = visible(0);
    const size_t blocks = (visible(tile - 1) + kKvBlockTokens - 1) / kKvBlockTokens;
    const float* queries = q + c0 * task.head_dim;
    if (key_codes) {
      alignas(64) int16_t codes[kColumnsMax * kHeadDimMax];
      RoundedQuery rounded[kColumnsMax];
      round_queries(queries, task.head_dim, tile, codes, rounded);
      scores_tile<Integers>(task, keys.integers, codes, tile, blocks, score);
      apply_key_grid(task, rounded, tile, blocks, score);
    } else {
      scores_tile<Floats>(task, keys.floats, queries, tile, blocks, score);
    }
    if (common == visible(tile - 1)) {
      softmax_columns(task, score, c0, tile, common);
    } else {
      for (size_t c = 0; c < tile; ++c) softmax_columns(task, score + c * kSplitTokens, c0 + c, 1, visible(c));
    }
    float* o = task.o + c0 * task.head_dim;
    if (task.formats.values == KvFormat::f16) {
      outputs_tile(task, values.floats, score, tile, visible, o);
    } else {
      outputs_tile_of_codes(task, values.integers, score, tile, visible, o);
    }
  }
}
