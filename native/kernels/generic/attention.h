#pragma once
// Attention over one split of 256 positions; definition: reference/attention.cpp. Included inside a level's anonymous
// namespace.
//
// Query heads that share a KV head, and the queries of a chunk, are columns: a vector of keys (16 tokens) or values (16
// dimensions) is loaded and widened once for up to 6 of them. Three passes over a split: scores into `scratch`,
// softmax in place, outputs. Columns of a tile may see different numbers of positions (causal mask): the outputs take
// what all of them see together, then the few remaining rows column by column, since a row of V that a column doesn't
// see must not enter its sum, not even times zero (NaN, and the sign of zero).

constexpr size_t kSplitBlocks = kSplitTokens / kKvBlockTokens;
constexpr size_t kHeadDimMax = 256;

/// Positions of the split that query i sees.
NIBBLE_INLINE size_t visible_positions(const AttentionTask& task, size_t i) noexcept {
  const size_t seen = task.first_position + i + 1;
  const size_t start = task.split * kSplitTokens;
  if (seen <= start) return 0;
  return seen - start < kSplitTokens ? seen - start : kSplitTokens;
}

NIBBLE_INLINE const uint8_t* split_block(const AttentionTask& task, size_t b) noexcept {
  const int32_t id = task.blocks[task.split * kSplitBlocks + b];
  return task.pool + static_cast<size_t>(id) * task.block_bytes;
}

/// scratch[c][t] = q_c · k_t, unscaled, for the first `blocks` blocks of the split.
void attention_scores(const AttentionTask& task, size_t c0, size_t columns, size_t blocks) noexcept {
  alignas(64) float q[kColumnsMax][kHeadDimMax];
  for (size_t c = 0; c < columns; ++c) {
    const size_t i = (c0 + c) / task.group;
    const size_t h = (c0 + c) % task.group;
    __builtin_memcpy(q[c], task.q + i * task.q_stride + h * task.head_dim, task.head_dim * sizeof(float));
  }
  for (size_t b = 0; b < blocks;) {
    const size_t vectors = vectors_of(columns, blocks - b);
    const F16* k[kVectorsMax];
    for (size_t v = 0; v < vectors; ++v) k[v] = reinterpret_cast<const F16*>(split_block(task, b + v) + task.k_offset);
    run_tile<F16>(vectors, columns,
                  {.w = k,
                   .w_step = kKvBlockTokens,
                   .segment_steps = task.head_dim,
                   .steps = task.head_dim,
                   .x = q[0],
                   .x_stride = kHeadDimMax,
                   .start = nullptr,
                   .bias = nullptr,
                   .accumulate = false,
                   .out = task.scratch + c0 * kSplitTokens + b * kKvBlockTokens,
                   .out_stride = kSplitTokens});
    b += vectors;
  }
}

/// Scores of column c → exp(scale · score − m), m, l.
void attention_softmax(const AttentionTask& task, size_t c, size_t visible) noexcept {
  float* score = task.scratch + c * kSplitTokens;
  const F32x16 scale = set1(task.scale);
  const F32x16 lowest = set1(-__builtin_inff());
  const size_t whole = visible / 16 * 16;
  const size_t rest = visible - whole;
  F32x16 top = lowest;
  for (size_t t = 0; t < whole; t += 16) {
    const F32x16 s = mul(scale, load(score + t));
    store(score + t, s);
    top = max(s, top);
  }
  if (rest > 0) {
    const F32x16 s = mul(scale, load(score + whole));
    store(score + whole, s);
    top = max(keep_first(s, lowest, rest), top);
  }
  const float m = fold_max(top);
  F32x16 sum = zero();
  for (size_t t = 0; t < whole; t += 16) {
    const F32x16 p = exp(sub(load(score + t), set1(m)));
    store(score + t, p);
    sum = add(sum, p);
  }
  if (rest > 0) {
    const F32x16 p = keep_first(exp(sub(load(score + whole), set1(m))), zero(), rest);
    store(score + whole, p);
    sum = add(sum, p);
  }
  task.m[c] = m;
  task.l[c] = fold_sum(sum);
}

/// o[c] (+)= Σ p_t · v_t over positions [from, to) of the split, from a multiple of 16 or within one block.
void attention_values(const AttentionTask& task, size_t c0, size_t columns, size_t from, size_t to) noexcept {
  const size_t first_block = from / kKvBlockTokens;
  const size_t blocks = (to + kKvBlockTokens - 1) / kKvBlockTokens - first_block;
  const size_t dims = task.head_dim / 16;
  const size_t skip = from % kKvBlockTokens;
  for (size_t d = 0; d < dims;) {
    const size_t vectors = vectors_of(columns, dims - d);
    const F16* v[kSplitBlocks * kVectorsMax];
    for (size_t b = 0; b < blocks; ++b) {
      const auto* block = reinterpret_cast<const F16*>(split_block(task, first_block + b) + task.v_offset);
      for (size_t i = 0; i < vectors; ++i) v[b * vectors + i] = block + skip * task.head_dim + (d + i) * 16;
    }
    float* out = task.o + c0 * task.head_dim + d * 16;
    run_tile<F16>(vectors, columns,
                  {.w = v,
                   .w_step = task.head_dim,
                   .segment_steps = kKvBlockTokens,
                   .steps = to - from,
                   .x = task.scratch + c0 * kSplitTokens + from,
                   .x_stride = kSplitTokens,
                   .start = from == 0 ? nullptr : out,
                   .bias = nullptr,
                   .accumulate = false,
                   .out = out,
                   .out_stride = task.head_dim});
    d += vectors;
  }
}

void attention(const AttentionTask& task) noexcept {
  count_call();
  const size_t columns = task.queries * task.group;
  const size_t step = tile_columns(columns);
  for (size_t c0 = 0; c0 < columns; c0 += step) {
    const size_t count = columns - c0 < step ? columns - c0 : step;
    // Later queries see more: the first column of the tile sees the fewest positions, the last one the most.
    const size_t common = visible_positions(task, c0 / task.group);
    const size_t most = visible_positions(task, (c0 + count - 1) / task.group);
    attention_scores(task, c0, count, (most + kKvBlockTokens - 1) / kKvBlockTokens);
    for (size_t c = c0; c < c0 + count; ++c) attention_softmax(task, c, visible_positions(task, c / task.group));
    attention_values(task, c0, count, 0, common);
    for (size_t c = c0; c < c0 + count; ++c) {
      const size_t visible = visible_positions(task, c / task.group);
      for (size_t from = common; from < visible;) {  // block by block, as `from` may stand inside one
        const size_t end = (from / kKvBlockTokens + 1) * kKvBlockTokens;
        const size_t to = end < visible ? end : visible;
        attention_values(task, c, 1, from, to);
        from = to;
      }
    }
  }
}

void attention_merge(float* o, float* m, float* l, const float* o2, float m2, float l2, size_t head_dim) noexcept {
  if (l2 == 0.0f) return;
  const float top = *m >= m2 ? *m : m2;
  const float a = exp_scalar(*m - top);
  const float b = exp_scalar(m2 - top);
  *l = __builtin_fmaf(l2, b, *l * a);
  for (size_t d = 0; d < head_dim; d += 16) store(o + d, fma(load(o2 + d), set1(b), mul(load(o + d), set1(a))));
  *m = top;
}

void attention_finish(const float* o, float l, size_t head_dim, float* y) noexcept {
  const F32x16 inverse = set1(1.0f / l);
  for (size_t d = 0; d < head_dim; d += 16) store(y + d, mul(load(o + d), inverse));
}
