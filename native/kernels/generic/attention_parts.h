#pragma once
// What attention of one query and of several have in common. Included inside a level's anonymous namespace.

constexpr size_t kSplitBlocks = kSplitTokens / kKvBlockTokens;
constexpr size_t kHeadDimMax = 256;

NIBBLE_INLINE size_t smaller(size_t a, size_t b) noexcept {
  return a < b ? a : b;
}

/// Positions of the split that query i sees.
NIBBLE_INLINE size_t visible_positions(const AttentionTask& task, size_t i) noexcept {
  const size_t seen = task.first_position + i + 1;
  const size_t start = task.split * kSplitTokens;
  return seen <= start ? 0 : smaller(seen - start, kSplitTokens);
}

/// Block `b` of the split.
NIBBLE_INLINE int32_t split_block(const AttentionTask& task, size_t b) noexcept {
  return task.blocks[task.split * kSplitBlocks + b];
}
NIBBLE_INLINE const uint8_t* keys_of(const AttentionTask& task, size_t b) noexcept {
  return task.kv.keys + kv_offset(task.kv.key_bytes, task.kv.group_bytes, split_block(task, b));
}
NIBBLE_INLINE const uint8_t* values_of(const AttentionTask& task, size_t b) noexcept {
  return task.kv.values + kv_offset(task.kv.value_bytes, task.kv.group_bytes, split_block(task, b));
}

/// Copies the query of each column: q[c][head_dim].
NIBBLE_INLINE void gather_queries(const AttentionTask& task, float* q, size_t columns) noexcept {
  for (size_t c = 0; c < columns; ++c) {
    const float* from = task.q + c / task.group * task.q_stride + c % task.group * task.head_dim;
    __builtin_memcpy(q + c * task.head_dim, from, task.head_dim * sizeof(float));
  }
}

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
    if (task.first_scores != nullptr && task.split == 0)
      task.first_scores[c0 + c] = task.scale * score[c * kSplitTokens];
    task.m[c0 + c] = fold_max(top[c]);
    top[c] = set1(task.m[c0 + c]);
    sum[c] = zero();
  }
  for (size_t t = 0; t < whole; t += 16) {
    for (size_t c = 0; c < C; ++c) {
      float* at = score + c * kSplitTokens + t;
      const F32x16 p = exp_of_negative(sub(mul(scale, load(at)), top[c]));
      store(at, p);
      sum[c] = add(sum[c], p);
    }
  }
  for (size_t c = 0; c < C; ++c) {
    if (rest > 0) {
      float* at = score + c * kSplitTokens + whole;
      const F32x16 p = keep_first(exp_of_negative(sub(mul(scale, load(at)), top[c])), zero(), rest);
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
