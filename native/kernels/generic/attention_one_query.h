#pragma once
// Attention of one query (decode). Included inside a level's anonymous namespace.
//
// Keys and values are widened as they are read, once for all columns, a register at a time. What is read is asked for
// some blocks ahead; at the end of a split come the first keys of the task that the thread runs next.

/// How far ahead lines are prefetched: enough for the latency of memory, little enough for the L1 cache. Numbers of 16
/// bits pass as fast as memory gives them, and 16 KiB cost 8 %; codes wait for memory less often (8 KiB: +20 %).
template <KvFormat F>
constexpr size_t kBytesAhead = F == KvFormat::f16 ? 8192 : 16384;

NIBBLE_INLINE void prefetch(const uint8_t* p) noexcept {
  __builtin_prefetch(p, 0, 3);
}

/// Whole blocks that `kBytesAhead` are, at most a split.
template <KvFormat F>
NIBBLE_INLINE size_t blocks_ahead(size_t part_bytes) noexcept {
  return smaller(kSplitBlocks, (kBytesAhead<F> + part_bytes - 1) / part_bytes);
}

/// Part `p` of vector `n` of 16 stored numbers or codes: a dimension of keys, 16 dimensions of a value.
template <KvFormat F>
NIBBLE_INLINE Part load_part(const uint8_t* codes, size_t n, size_t p) noexcept {
  constexpr size_t kLanes = 16 / kParts;
  if constexpr (F == KvFormat::f16) return part_f16(codes + 32 * n + 2 * kLanes * p);
  if constexpr (F == KvFormat::q8) return part_u8(codes + 16 * n + kLanes * p);
  const uint8_t* both = codes + n / 2 * 16 + kLanes * p;
  return n % 2 == 0 ? part_low(both) : part_high(both);
}

/// Bytes of two vectors.
template <KvFormat F>
constexpr size_t kVectorBytes2 = F == KvFormat::f16  ? 64
                                 : F == KvFormat::q8 ? 32
                                                     : 16;

/// acc[c][v·kParts + p] += factor_c · part p of vector v. What is the smaller number, factors or parts, stays in
/// registers meanwhile.
template <size_t V, size_t C, class Load>
NIBBLE_INLINE void add_products(Part (&acc)[C][V * kParts], const float* factor, size_t factor_stride,
                                const Load& load_one_part) noexcept {
  constexpr size_t kAll = V * kParts;
  if constexpr (C <= kAll) {
    Part factors[C];
    for (size_t c = 0; c < C; ++c) factors[c] = part_set1(factor[c * factor_stride]);
    for (size_t i = 0; i < kAll; ++i) {
      const Part part = load_one_part(i / kParts, i % kParts);
      for (size_t c = 0; c < C; ++c) acc[c][i] = part_fma(part, factors[c], acc[c][i]);
    }
  } else {
    Part parts[kAll];
    for (size_t i = 0; i < kAll; ++i) parts[i] = load_one_part(i / kParts, i % kParts);
    for (size_t c = 0; c < C; ++c) {
      const Part one = part_set1(factor[c * factor_stride]);
      for (size_t i = 0; i < kAll; ++i) acc[c][i] = part_fma(parts[i], one, acc[c][i]);
    }
  }
}

template <size_t V, size_t C>
NIBBLE_INLINE void clear(Part (&acc)[C][V * kParts]) noexcept {
  for (size_t c = 0; c < C; ++c)
    for (size_t i = 0; i < V * kParts; ++i) acc[c][i] = part_zero();
}
/// out[c][16·v …] of columns that lie `stride` apart.
template <size_t V, size_t C>
NIBBLE_INLINE void store_sums(const Part (&acc)[C][V * kParts], float* out, size_t stride) noexcept {
  for (size_t c = 0; c < C; ++c)
    for (size_t i = 0; i < V * kParts; ++i) part_store(out + c * stride + 16 / kParts * i, acc[c][i]);
}

/// score[c][16·v + lane] = Σ_d q_cd · K_d, for V blocks and C columns. @param k, ahead parts of blocks
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void score_blocks(const uint8_t* const (&k)[V], const uint8_t* const (&ahead)[V], const float* q,
                                size_t head_dim, float* score) noexcept {
  Part acc[C][V * kParts];
  clear<V, C>(acc);
  // Dimensions in a cache line; of 4 bits four, two a byte.
  constexpr size_t kStep = F == KvFormat::f16 ? 2 : F == KvFormat::q8 ? 4 : 8;
  for (size_t d = 0; d < head_dim; d += kStep) {
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + d / kStep * 64);
#pragma GCC unroll 8
    for (size_t i = 0; i < kStep; ++i) {
      add_products<V, C>(
          acc, q + d + i, head_dim, [&](size_t v, size_t p) __attribute__((always_inline)) {
            return load_part<F>(k[v] + kv_codes_at(F), d + i, p);
          });
    }
  }
  if constexpr (F != KvFormat::f16)  // the grid makes it one line more
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + head_dim / kStep * 64);
  store_sums<V, C>(acc, score, kSplitTokens);
}

/// Keys of a split, as they are or as codes; prefetches keys further on, then values.
template <KvFormat F, size_t C>
NIBBLE_INLINE void scores_one_query(const AttentionTask& task, const float* q, size_t blocks) noexcept {
  constexpr size_t kVectors = decode_vectors_for(C);
  const size_t distance = blocks_ahead<F>(task.kv.key_bytes);
  const auto ahead = [&](size_t b) {
    const size_t block = b + distance;
    return block < blocks ? keys_of(task, block) : values_of(task, smaller(block - blocks, blocks - 1));
  };
  size_t b = 0;
  for (; b + kVectors <= blocks; b += kVectors) {
    const uint8_t* k[kVectors];
    const uint8_t* next[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      k[v] = keys_of(task, b + v);
      next[v] = ahead(b + v);
    }
    score_blocks<F, kVectors, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
  for (; b < blocks; ++b) {
    const uint8_t* const k[1] = {keys_of(task, b)};
    const uint8_t* const next[1] = {ahead(b)};
    score_blocks<F, 1, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
}

/// o[c][16·(n + v) + lane] = Σ_t p_ct · V_t over `tokens` positions, for V vectors of dimensions and C columns.
/// @param n even if V is
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void value_vectors(const AttentionTask& task, size_t n, size_t tokens) noexcept {
  Part acc[C][V * kParts];
  clear<V, C>(acc);
  const size_t blocks = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t row = kv_value_row_bytes(F, task.head_dim);
  const size_t within = n * row / (task.head_dim / 16);  // of a row, as far as prefetching goes
  constexpr size_t kLineVectors = F == KvFormat::f16 ? 2 : F == KvFormat::q8 ? 4 : 8;
  const size_t distance = blocks_ahead<F>(task.kv.value_bytes);
  for (size_t b = 0; b < blocks; ++b) {
    const size_t later = b + distance;
    const uint8_t* values = values_of(task, b);
    const uint8_t* ahead = values;
    if (later < blocks) {
      ahead = values_of(task, later);
    } else if (later - blocks < task.next_count) {
      ahead = task.next_keys + kv_offset(task.kv.key_bytes, task.kv.group_bytes, task.next_blocks[later - blocks]);
    }
    values += kv_codes_at(F);
    const float* weights = task.scratch + b * kKvBlockTokens;
    const size_t count = smaller(tokens - b * kKvBlockTokens, kKvBlockTokens);
    for (size_t t = 0; t < count; ++t) {
      // Where V is even, so is n: whether a vector of 4 bits is even is then known when this is compiled.
      const uint8_t* vectors = values + t * row + (V % 2 == 0 ? n * kVectorBytes2<F> / 2 : 0);
      const size_t first = V % 2 == 0 ? 0 : n;
      for (size_t v = 0; v < V; v += kLineVectors) prefetch(ahead + t * row + within + v / kLineVectors * 64);
      add_products<V, C>(
          acc, weights + t, kSplitTokens, [&](size_t v, size_t p) __attribute__((always_inline)) {
            return load_part<F>(vectors, first + v, p);
          });
    }
    if constexpr (F != KvFormat::f16) prefetch(ahead + kKvBlockTokens * row);
  }
  store_sums<V, C>(acc, task.o + 16 * n, task.head_dim);
}

template <KvFormat F, size_t C>
NIBBLE_INLINE void values_one_query(const AttentionTask& task, size_t tokens) noexcept {
  constexpr size_t kVectors = decode_vectors_for(C);
  const size_t dims = task.head_dim / 16;
  size_t n = 0;
  for (; n + kVectors <= dims; n += kVectors) value_vectors<F, kVectors, C>(task, n, tokens);
  for (; n < dims; ++n) value_vectors<F, 1, C>(task, n, tokens);
}

template <size_t C>
void attention_one_query(const AttentionTask& task) noexcept {
  alignas(64) float q[C * kHeadDimMax];
  gather_queries(task, q, C);
  const size_t visible = visible_positions(task, 0);
  const size_t blocks = (visible + kKvBlockTokens - 1) / kKvBlockTokens;
  switch (task.formats.keys) {
    case KvFormat::f16:
      scores_one_query<KvFormat::f16, C>(task, q, blocks);
      break;
    case KvFormat::q8:
      scores_one_query<KvFormat::q8, C>(task, q, blocks);
      break;
    case KvFormat::q4:
      scores_one_query<KvFormat::q4, C>(task, q, blocks);
      break;
  }
  if (task.formats.keys != KvFormat::f16) apply_key_grid(task, q, C, blocks, task.scratch);
  softmax_columns(task, task.scratch, 0, C, visible);
  if (task.formats.values == KvFormat::f16) return values_one_query<KvFormat::f16, C>(task, visible);
  float offset[C];
  for (size_t c = 0; c < C; ++c) offset[c] = apply_value_grid(task, visible, task.scratch + c * kSplitTokens);
  if (task.formats.values == KvFormat::q8) {
    values_one_query<KvFormat::q8, C>(task, visible);
  } else {
    values_one_query<KvFormat::q4, C>(task, visible);
  }
  for (size_t c = 0; c < C; ++c) add_offset(task.o + c * task.head_dim, task.head_dim, offset[c]);
}
