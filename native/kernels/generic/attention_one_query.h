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

/// Vectors in a cache line.
template <KvFormat F>
constexpr size_t kLineVectors = 128 / kVectorBytes2<F>;

/// acc[c][v·kParts + p] += factor_c · part p of vector v. What is the smaller number, factors or parts, stays in
/// registers meanwhile.
template <class N, size_t V, size_t C, class Load>
NIBBLE_INLINE void add_products(typename N::Sum (&acc)[C][V * kParts], const typename N::Number* factor,
                                size_t factor_stride, const Load& load_one_part) noexcept {
  constexpr size_t kAll = V * kParts;
  if constexpr (C <= kAll) {
    typename N::Operand factors[C];
    for (size_t c = 0; c < C; ++c) factors[c] = N::set1(factor + c * factor_stride);
    for (size_t i = 0; i < kAll; ++i) {
      const typename N::Operand part = load_one_part(i / kParts, i % kParts);
      for (size_t c = 0; c < C; ++c) acc[c][i] = N::add_product(part, factors[c], acc[c][i]);
    }
  } else {
    typename N::Operand parts[kAll];
    for (size_t i = 0; i < kAll; ++i) parts[i] = load_one_part(i / kParts, i % kParts);
    for (size_t c = 0; c < C; ++c) {
      const typename N::Operand one = N::set1(factor + c * factor_stride);
      for (size_t i = 0; i < kAll; ++i) acc[c][i] = N::add_product(parts[i], one, acc[c][i]);
    }
  }
}

template <class N, size_t V, size_t C>
NIBBLE_INLINE void clear(typename N::Sum (&acc)[C][V * kParts]) noexcept {
  for (size_t c = 0; c < C; ++c)
    for (size_t i = 0; i < V * kParts; ++i) acc[c][i] = N::zero();
}
/// out[c][16·v …] of columns that lie `stride` apart.
template <class N, size_t V, size_t C>
NIBBLE_INLINE void store_sums(const typename N::Sum (&acc)[C][V * kParts], float* out, size_t stride) noexcept {
  for (size_t c = 0; c < C; ++c)
    for (size_t i = 0; i < V * kParts; ++i) N::store_sum(out + c * stride + 16 / kParts * i, acc[c][i]);
}

/// score[c][16·v + lane] = Σ_d q_cd · K_d, for V blocks and C columns. @param k, ahead parts of blocks
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void score_blocks(const uint8_t* const (&k)[V], const uint8_t* const (&ahead)[V],
                                const typename Numbers<F>::Number* q, size_t head_dim, float* score) noexcept {
  using N = Numbers<F>;
  typename N::Sum acc[C][V * kParts];
  clear<N, V, C>(acc);
  constexpr size_t kStep = kLineVectors<F>;
  const size_t vectors = head_dim / N::kTogether;
  for (size_t n = 0; n < vectors; n += kStep) {
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + n / kStep * 64);
#pragma GCC unroll 8
    for (size_t i = 0; i < kStep; ++i) {
      add_products<N, V, C>(
          acc, q + (n + i) * N::kTogether, head_dim, [&](size_t v, size_t p) __attribute__((always_inline)) {
            return load_part<F>(k[v] + kv_codes_at(F), n + i, p);
          });
    }
  }
  if constexpr (F != KvFormat::f16)  // the grid makes it one line more
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + vectors / kStep * 64);
  store_sums<N, V, C>(acc, score, kSplitTokens);
}

/// Keys of a split, as they are or as codes; prefetches keys further on, then values.
template <KvFormat F, size_t C>
NIBBLE_INLINE void scores_one_query(const AttentionTask& task, const typename Numbers<F>::Number* q,
                                    size_t blocks) noexcept {
  constexpr size_t kVectors = Numbers<F>::decode_vectors(C);
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
/// @param p [C][kSplitTokens]; of integers, 0 behind an odd number of tokens   @param n even if V is
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void value_vectors(const AttentionTask& task, const typename Numbers<F>::Number* p, size_t n,
                                 size_t tokens) noexcept {
  using N = Numbers<F>;
  typename N::Sum acc[C][V * kParts];
  clear<N, V, C>(acc);
  const size_t blocks = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t row = N::kTogether * kv_value_row_bytes(F, task.head_dim);
  const size_t within = n * row / (task.head_dim / 16);  // of a row, as far as prefetching goes
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
    const typename N::Number* weights = p + b * kKvBlockTokens;
    const size_t count = smaller(tokens - b * kKvBlockTokens, kKvBlockTokens);
    for (size_t r = 0; r < (count + N::kTogether - 1) / N::kTogether; ++r) {
      // Where V is even, so is n: whether a vector of 4 bits is even is then known when this is compiled.
      const uint8_t* vectors = values + r * row + (V % 2 == 0 ? n * kVectorBytes2<F> / 2 : 0);
      const size_t first = V % 2 == 0 ? 0 : n;
      for (size_t v = 0; v < V; v += kLineVectors<F>) prefetch(ahead + r * row + within + v / kLineVectors<F> * 64);
      add_products<N, V, C>(
          acc, weights + r * N::kTogether, kSplitTokens, [&](size_t v, size_t part) __attribute__((always_inline)) {
            return load_part<F>(vectors, first + v, part);
          });
    }
    if constexpr (F != KvFormat::f16) prefetch(ahead + kKvBlockTokens / N::kTogether * row);
  }
  store_sums<N, V, C>(acc, task.o + 16 * n, task.head_dim);
}

template <KvFormat F, size_t C>
NIBBLE_INLINE void values_one_query(const AttentionTask& task, const typename Numbers<F>::Number* p,
                                    size_t tokens) noexcept {
  constexpr size_t kVectors = Numbers<F>::decode_vectors(C);
  const size_t dims = task.head_dim / 16;
  size_t n = 0;
  for (; n + kVectors <= dims; n += kVectors) value_vectors<F, kVectors, C>(task, p, n, tokens);
  for (; n < dims; ++n) value_vectors<F, 1, C>(task, p, n, tokens);
}

template <KvFormat F, size_t C>
NIBBLE_INLINE void scores_of_codes(const AttentionTask& task, const float* q, size_t blocks) noexcept {
  alignas(64) int16_t codes[C * kHeadDimMax];
  RoundedQuery rounded[C];
  round_queries(q, task.head_dim, C, codes, rounded);
  scores_one_query<F, C>(task, codes, blocks);
  apply_key_grid(task, rounded, C, blocks, task.scratch);
}

template <KvFormat F, size_t C>
NIBBLE_INLINE void values_of_codes(const AttentionTask& task, size_t visible) noexcept {
  alignas(64) int16_t codes[C * kSplitTokens];
  RoundedWeights rounded[C];
  for (size_t c = 0; c < C; ++c)
    rounded[c] = round_weights(task, visible, task.scratch + c * kSplitTokens, codes + c * kSplitTokens);
  values_one_query<F, C>(task, codes, visible);
  for (size_t c = 0; c < C; ++c) apply_value_grid(rounded[c], task.head_dim, task.o + c * task.head_dim);
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
      scores_of_codes<KvFormat::q8, C>(task, q, blocks);
      break;
    case KvFormat::q4:
      scores_of_codes<KvFormat::q4, C>(task, q, blocks);
      break;
  }
  softmax_columns(task, task.scratch, 0, C, visible);
  switch (task.formats.values) {
    case KvFormat::f16:
      return values_one_query<KvFormat::f16, C>(task, task.scratch, visible);
    case KvFormat::q8:
      return values_of_codes<KvFormat::q8, C>(task, visible);
    case KvFormat::q4:
      return values_of_codes<KvFormat::q4, C>(task, visible);
  }
}
