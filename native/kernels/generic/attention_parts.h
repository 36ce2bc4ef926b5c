#pragma once
// What attention of one query and of several have in common: reading each KV format, softmax, the grids of quantized
// keys and values. Included inside a level's anonymous namespace.

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

/// Pair `n` of vectors of 16 stored numbers or codes that lie side by side: two dimensions of keys, 32 of a value.
template <KvFormat F>
NIBBLE_INLINE void load_two(const uint8_t* codes, size_t n, F32x16& a, F32x16& b) noexcept {
  if constexpr (F == KvFormat::f16) {
    a = load_f16(reinterpret_cast<const uint16_t*>(codes) + 32 * n);
    b = load_f16(reinterpret_cast<const uint16_t*>(codes) + 32 * n + 16);
  } else if constexpr (F == KvFormat::q8) {
    a = to_f32(load_u8(codes + 32 * n));
    b = to_f32(load_u8(codes + 32 * n + 16));
  } else {
    const I32x16 both = load_u8(codes + 16 * n);
    a = to_f32(bit_and(both, set1_i32(15)));
    b = to_f32(shift_right<4>(both));
  }
}
template <KvFormat F>
NIBBLE_INLINE F32x16 load_one(const uint8_t* codes, size_t n) noexcept {
  if constexpr (F == KvFormat::f16) return load_f16(reinterpret_cast<const uint16_t*>(codes) + 16 * n);
  if constexpr (F == KvFormat::q8) return to_f32(load_u8(codes + 16 * n));
  const I32x16 both = load_u8(codes + n / 2 * 16);
  return to_f32(n % 2 == 0 ? bit_and(both, set1_i32(15)) : shift_right<4>(both));
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

/// Quantized keys: scores of codes → scores. @param q [columns][head_dim]
NIBBLE_INLINE void apply_key_grid(const AttentionTask& task, const float* q, size_t columns, size_t blocks,
                                  float* score) noexcept {
  F32x16 q_sum[kColumnsMax];
  for (size_t c = 0; c < columns; ++c) {
    F32x16 sum = zero();
    for (size_t d = 0; d < task.head_dim; d += 16) sum = add(sum, load(q + c * task.head_dim + d));
    q_sum[c] = set1(fold_sum(sum));
  }
  for (size_t b = 0; b < blocks; ++b) {
    const auto* header = reinterpret_cast<const uint16_t*>(keys_of(task, b));
    const F32x16 scale = load_f16(header);
    const F32x16 minimum = load_f16(header + kKvBlockTokens);
    for (size_t c = 0; c < columns; ++c) {
      float* at = score + c * kSplitTokens + b * kKvBlockTokens;
      store(at, fma(minimum, q_sum[c], mul(scale, load(at))));
    }
  }
}

/// Quantized values: the weights of a column → weights of codes. Returns Σ p · minimum, which the output lacks then.
NIBBLE_INLINE float apply_value_grid(const AttentionTask& task, size_t visible, float* p) noexcept {
  F32x16 sum = zero();
  for (size_t t = 0; t < visible; t += 16) {
    const auto* header = reinterpret_cast<const uint16_t*>(values_of(task, t / kKvBlockTokens));
    const F32x16 weight = load(p + t);
    F32x16 minimum = load_f16(header + kKvBlockTokens);
    if (visible - t < 16) minimum = keep_first(minimum, zero(), visible - t);  // the rest isn't seen, and may be NaN
    sum = fma(weight, minimum, sum);
    store(p + t, mul(weight, load_f16(header)));
  }
  return fold_sum(sum);
}

NIBBLE_INLINE void add_offset(float* o, size_t head_dim, float offset) noexcept {
  for (size_t d = 0; d < head_dim; d += 16) store(o + d, add(load(o + d), set1(offset)));
}
