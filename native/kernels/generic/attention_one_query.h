#pragma once
// Attention of one query (decode). Included inside a level's anonymous namespace.
//
// It is bound by memory: keys and values are widened as they are read, once for all columns, while the lines of four
// blocks further on are prefetched. Blocks lie scattered in the pool, so that the hardware sees streams of a few kB; at
// the end of a split come the first keys of the task that the thread runs next.

/// How far ahead lines are prefetched: enough for the latency of memory, little enough for the L1 cache.
constexpr size_t kBlocksAhead = 4;

NIBBLE_INLINE void prefetch(const uint8_t* p) noexcept {
  __builtin_prefetch(p, 0, 3);
}

/// Pairs in a cache line.
template <KvFormat F>
constexpr size_t kPairsPerLine = F == KvFormat::f16  ? 1
                                 : F == KvFormat::q8 ? 2
                                                     : 4;

/// score[c][16·v + lane] = Σ_d q_cd · K_d, for V blocks and C columns.
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void score_blocks(const uint8_t* const (&k)[V], const uint8_t* const (&ahead)[V], const float* q,
                                size_t head_dim, float* score) noexcept {
  F32x16 acc[C][V];
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) acc[c][v] = zero();
  constexpr size_t kPairs = kPairsPerLine<F>;
  for (size_t pair = 0; pair < head_dim / 2; pair += kPairs) {
    for (size_t v = 0; v < V; ++v) prefetch(ahead[v] + pair / kPairs * 64);
    for (size_t n = pair; n < pair + kPairs; ++n) {
      F32x16 keys[2][V];
      for (size_t v = 0; v < V; ++v) load_two<F>(k[v], n, keys[0][v], keys[1][v]);
      for (size_t i = 0; i < 2; ++i) {
        for (size_t c = 0; c < C; ++c) {
          const F32x16 query = set1(q[c * head_dim + 2 * n + i]);
          for (size_t v = 0; v < V; ++v) acc[c][v] = fma(keys[i][v], query, acc[c][v]);
        }
      }
    }
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) store(score + c * kSplitTokens + v * kKvBlockTokens, acc[c][v]);
}

/// Keys of a split, as they are or as codes; prefetches `kBlocksAhead` further on: keys, then values.
template <KvFormat F, size_t C>
NIBBLE_INLINE void scores_one_query(const AttentionTask& task, const float* q, size_t blocks) noexcept {
  constexpr size_t kVectors = vectors_for(C);
  const size_t at = task.k_offset + kv_codes_at(F);
  const auto ahead = [&](size_t block) {
    return block < blocks ? split_block(task, block) + at
                          : split_block(task, smaller(block - blocks, blocks - 1)) + task.v_offset;
  };
  size_t b = 0;
  for (; b + kVectors <= blocks; b += kVectors) {
    const uint8_t* k[kVectors];
    const uint8_t* next[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      k[v] = split_block(task, b + v) + at;
      next[v] = ahead(b + v + kBlocksAhead);
    }
    score_blocks<F, kVectors, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
  for (; b < blocks; ++b) {
    const uint8_t* const k[1] = {split_block(task, b) + at};
    const uint8_t* const next[1] = {ahead(b + kBlocksAhead)};
    score_blocks<F, 1, C>(k, next, q, task.head_dim, task.scratch + b * kKvBlockTokens);
  }
}

/// o[c][16·(n + v) + lane] = Σ_t p_ct · V_t over `tokens` positions, for V vectors of dimensions and C columns.
template <KvFormat F, size_t V, size_t C>
NIBBLE_INLINE void value_vectors(const AttentionTask& task, size_t n, size_t tokens) noexcept {
  F32x16 acc[C][V];
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) acc[c][v] = zero();
  const size_t blocks = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t row = kv_value_row_bytes(F, task.head_dim);
  const size_t at = task.v_offset + kv_codes_at(F);
  const size_t within = n * row / (task.head_dim / 16);  // of a row, as far as prefetching goes
  constexpr size_t kLineVectors = 2 * kPairsPerLine<F>;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t later = b + kBlocksAhead;
    const uint8_t* values = split_block(task, b) + at;
    const uint8_t* ahead = values;
    if (later < blocks) {
      ahead = split_block(task, later) + at;
    } else if (later - blocks < task.next_count) {
      ahead = pool_block(task, task.next_blocks + (later - blocks)) + task.next_k_offset;
    }
    const float* p = task.scratch + b * kKvBlockTokens;
    const size_t count = smaller(tokens - b * kKvBlockTokens, kKvBlockTokens);
    for (size_t t = 0; t < count; ++t) {
      const uint8_t* codes = values + t * row;
      for (size_t v = 0; v < V; v += kLineVectors) prefetch(ahead + t * row + within + v / kLineVectors * 64);
      F32x16 value[V];
      if constexpr (V % 2 == 0) {
        for (size_t v = 0; v < V; v += 2) load_two<F>(codes, (n + v) / 2, value[v], value[v + 1]);
      } else {
        value[0] = load_one<F>(codes, n);
      }
      for (size_t c = 0; c < C; ++c) {
        const F32x16 weight = set1(p[c * kSplitTokens + t]);
        for (size_t v = 0; v < V; ++v) acc[c][v] = fma(value[v], weight, acc[c][v]);
      }
    }
  }
  for (size_t c = 0; c < C; ++c)
    for (size_t v = 0; v < V; ++v) store(task.o + c * task.head_dim + 16 * (n + v), acc[c][v]);
}

template <KvFormat F, size_t C>
NIBBLE_INLINE void values_one_query(const AttentionTask& task, size_t tokens) noexcept {
  constexpr size_t kVectors = vectors_for(C);
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
