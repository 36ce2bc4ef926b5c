#include <algorithm>
#include <iterator>
#include <utility>

#include "checker.h"

namespace nibble::check {
namespace {

constexpr uint16_t kNanF16 = 0x7e7e;  // the same bytes make codes of 126, or 14 and 7

struct AttentionCase {
  size_t head_dim;
  size_t group;
  size_t queries;
  size_t first_position;
  float scale;
  Values values;
  KvFormats formats;
  bool wants_first;
};

/// A sequence's blocks in a pool, out of order; everything that no query may see is NaN.
struct Cache {
  Buffer<uint8_t> pool;
  std::vector<int32_t> blocks;
  KvView view;
};

Cache make_cache(Random& random, const KernelTable& twin, const AttentionCase& shape, size_t tokens,
                 size_t finite_tokens) {
  const size_t count = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const auto [keys, values] = shape.formats;
  const size_t key_bytes = kv_key_bytes(keys, shape.head_dim) + 64 * random.between(0, 1);
  const size_t value_bytes = kv_value_bytes(values, shape.head_dim) + 64 * random.between(0, 1);
  const size_t k_offset = 64 * random.between(0, 2);
  const size_t v_offset = k_offset + kKvGroupBlocks * key_bytes;
  const size_t group_bytes = v_offset + kKvGroupBlocks * value_bytes + 64 * random.between(0, 2);
  const size_t pool_blocks = count + random.between(1, 4);
  const size_t groups = (pool_blocks + kKvGroupBlocks - 1) / kKvGroupBlocks;
  Cache cache{Buffer<uint8_t>(groups * group_bytes), {}, {}};
  cache.view = {cache.pool.data() + k_offset, cache.pool.data() + v_offset, key_bytes, value_bytes, group_bytes};
  auto* halves = reinterpret_cast<uint16_t*>(cache.pool.data());
  for (size_t i = 0; i < cache.pool.size() / 2; ++i) halves[i] = kNanF16;

  std::vector<int32_t> ids(pool_blocks);
  for (size_t i = 0; i < pool_blocks; ++i) ids[i] = static_cast<int32_t>(i);
  for (size_t i = pool_blocks; i > 1; --i) std::swap(ids[i - 1], ids[random.between(0, i - 1)]);
  cache.blocks.assign(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count));

  std::vector<float> x(shape.head_dim);
  for (size_t t = 0; t < finite_tokens; ++t) {
    const int32_t block = cache.blocks[t / kKvBlockTokens];
    fill(random, shape.values, x);
    twin.store_key(keys, x.data(), shape.head_dim, t % kKvBlockTokens,
                   cache.pool.data() + k_offset + kv_offset(key_bytes, group_bytes, block));
    fill(random, shape.values, x);
    twin.store_value(values, x.data(), shape.head_dim, t % kKvBlockTokens,
                     cache.pool.data() + v_offset + kv_offset(value_bytes, group_bytes, block));
  }
  return cache;
}

struct Outputs {
  Buffer<float> o, m, l, first;
  explicit Outputs(const AttentionCase& s)
      : o(s.queries * s.group * s.head_dim + 16, 4),
        m(s.queries * s.group + 16, 8),
        l(s.queries * s.group + 16, 12),
        first(s.queries * s.group + 16, 4) {}
};

/// The task of a case, but for its queries, split and outputs.
AttentionTask task_of(Random& random, const AttentionCase& shape, const Cache& cache, size_t q_stride) {
  AttentionTask task{};
  task.q_stride = q_stride;
  task.queries = shape.queries;
  task.group = shape.group;
  task.head_dim = shape.head_dim;
  task.scale = shape.scale;
  task.first_position = shape.first_position;
  task.blocks = task.next_blocks = cache.blocks.data();
  task.next_count = random.between(0, cache.blocks.size());
  task.kv = cache.view;
  task.formats = shape.formats;
  task.next_keys = cache.view.keys;
  return task;
}

void merge(const KernelTable& table, const AttentionCase& shape, Outputs& all, Outputs& part) {
  table.attention_merge({.o = all.o.data(),
                         .m = all.m.data(),
                         .l = all.l.data(),
                         .o2 = part.o.data(),
                         .m2 = part.m.data(),
                         .l2 = part.l.data(),
                         .columns = shape.queries * shape.group,
                         .head_dim = shape.head_dim});
}

void check_case(Checker& c, const AttentionCase& shape) {
  const size_t columns = shape.queries * shape.group;
  const size_t tokens = shape.first_position + shape.queries;
  // Sometimes only what the first query sees is finite: later positions must not leak into it.
  const size_t finite = c.random.chance(4) ? shape.first_position + 1 : tokens;
  Cache cache = make_cache(c.random, c.twin, shape, tokens, finite);
  const size_t q_stride = shape.group * shape.head_dim + c.random.between(0, 9);
  Buffer<float> q(shape.queries * q_stride, 4 * c.random.between(0, 15));
  fill(c.random, shape.values, q.span());

  Outputs got_all(shape), want_all(shape);
  for (size_t split = 0; split * kSplitTokens < tokens; ++split) {
    Outputs got(shape), want(shape);
    Buffer<float> scratch(attention_scratch_floats(columns, shape.head_dim));
    AttentionTask task = task_of(c.random, shape, cache, q_stride);
    task.q = q.data();
    task.split = split;
    task.o = got.o.data();
    task.m = got.m.data();
    task.l = got.l.data();
    task.first_scores = shape.wants_first ? got.first.data() : nullptr;
    task.scratch = scratch.data();
    fill(c.random, Values::not_finite, scratch.span());
    c.level.attention(task);
    task.o = want.o.data();
    task.m = want.m.data();
    task.l = want.l.data();
    if (shape.wants_first) task.first_scores = want.first.data();
    c.twin.attention(task);
    const auto compare = [&](Buffer<float>& a, Buffer<float>& b, const char* what) {
      c.expect_same(a.span(), b.span(), "attention %s: head_dim %zu group %zu queries %zu position %zu split %zu", what,
                    shape.head_dim, shape.group, shape.queries, shape.first_position, split);
    };
    compare(got.m, want.m, "m");
    compare(got.l, want.l, "l");
    compare(got.o, want.o, "o");
    compare(got.first, want.first, "first scores");
    if (split == 0) {
      std::copy(got.o.span().begin(), got.o.span().end(), got_all.o.span().begin());
      std::copy(want.o.span().begin(), want.o.span().end(), want_all.o.span().begin());
      for (size_t i = 0; i < columns; ++i)
        got_all.m[i] = got.m[i], got_all.l[i] = got.l[i], want_all.m[i] = want.m[i], want_all.l[i] = want.l[i];
      continue;
    }
    merge(c.level, shape, got_all, got);
    merge(c.twin, shape, want_all, want);
  }
  c.expect_same(got_all.l.span(), want_all.l.span(), "attention merged l: group %zu queries %zu position %zu",
                shape.group, shape.queries, shape.first_position);
  c.expect_same(got_all.o.span(), want_all.o.span(),
                "attention merged: head_dim %zu group %zu queries %zu position %zu", shape.head_dim, shape.group,
                shape.queries, shape.first_position);
  if (shape.values != Values::plain) return;
  // Every query that sees finite keys and values only has a finite result.
  const size_t clean = finite == tokens ? columns : shape.group;
  bool is_finite = true;
  for (size_t i = 0; i < clean * shape.head_dim; ++i) is_finite = is_finite && got_all.o[i] - got_all.o[i] == 0.0f;
  c.expect(is_finite, "attention: a masked position leaked; head_dim %zu group %zu queries %zu position %zu",
           shape.head_dim, shape.group, shape.queries, shape.first_position);
}

/// The score of one key with one large dimension (keys of real models have such), through the kernels: rotation has to
/// take most of the error away that 4 bits make of it. A single visible position's score is the column's maximum.
double key_error(Checker& c, const std::vector<float>& query, const std::vector<float>& key, bool rotates) {
  const size_t head_dim = query.size();
  const KvFormats formats{KvFormat::q4, KvFormat::q4};
  Buffer<float> q(head_dim), k(head_dim), o(head_dim), m(1), l(1), scratch(attention_scratch_floats(1, head_dim));
  std::copy(query.begin(), query.end(), q.span().begin());
  std::copy(key.begin(), key.end(), k.span().begin());
  if (rotates) c.level.hadamard(q.data(), 1, head_dim), c.level.hadamard(k.data(), 1, head_dim);
  const size_t v_offset = (kv_key_bytes(formats.keys, head_dim) + 63) / 64 * 64;
  Buffer<uint8_t> pool(v_offset + kv_value_bytes(formats.values, head_dim));
  c.level.store_key(formats.keys, k.data(), head_dim, 0, pool.data());
  c.level.store_value(formats.values, k.data(), head_dim, 0, pool.data() + v_offset);
  const int32_t block = 0;
  c.level.attention({.q = q.data(),
                     .q_stride = head_dim,
                     .queries = 1,
                     .group = 1,
                     .head_dim = head_dim,
                     .scale = 1.0f,
                     .first_position = 0,
                     .split = 0,
                     .blocks = &block,
                     .kv = {pool.data(), pool.data() + v_offset, v_offset, pool.size() - v_offset, pool.size()},
                     .formats = formats,
                     .next_blocks = &block,
                     .next_count = 0,
                     .next_keys = pool.data(),
                     .o = o.data(),
                     .m = m.data(),
                     .l = l.data(),
                     .first_scores = nullptr,
                     .scratch = scratch.data()});
  double exact = 0;
  for (size_t d = 0; d < head_dim; ++d) exact += static_cast<double>(query[d]) * static_cast<double>(key[d]);
  return static_cast<double>(m[0]) - exact;
}

void check_outliers(Checker& c) {
  constexpr size_t kHeadDims[] = {64, 128, 256};
  for (const size_t head_dim : kHeadDims) {
    double rotated = 0, plain = 0;
    std::vector<float> query(head_dim), key(head_dim);
    for (size_t round = 0; round < 200; ++round) {
      fill(c.random, Values::plain, query);
      fill(c.random, Values::plain, key);
      float largest = 0.0f;
      for (const float x : key) largest = std::max(largest, __builtin_fabsf(x));
      key[7] = 25.0f * largest;
      const double with = key_error(c, query, key, true);
      const double without = key_error(c, query, key, false);
      rotated += with * with;
      plain += without * without;
    }
    c.expect(rotated > 0 && rotated < 0.2 * plain, "attention: rotation leaves %f of the outliers' error, head_dim %zu",
             rotated / plain, head_dim);
  }
}

}  // namespace

void check_attention(Checker& checker) {
  check_outliers(checker);
  Random& random = checker.random;
  constexpr size_t kHeadDims[] = {16, 32, 48, 64, 64, 80, 96, 112, 128, 256};
  constexpr size_t kPositions[] = {0, 1, 14, 15, 16, 17, 31, 100, 239, 240, 255, 256, 257, 500, 511, 512, 1023, 1500};
  using enum KvFormat;
  constexpr KvFormats kFormats[] = {{f16, f16}, {q8, q8}, {q4, q4}, {q8, q4}};
  for (size_t round = 0; round < 240; ++round) {
    const size_t group = random.between(1, 9);
    const size_t queries_max = kAttentionColumnsMax / group;
    AttentionCase shape{.head_dim = random.pick<size_t>(kHeadDims),
                        .group = group,
                        .queries = random.chance(3) ? 1 : random.between(1, queries_max),
                        .first_position = kPositions[round % std::size(kPositions)],
                        .scale = 0.125f,
                        .values = random.chance(2) ? Values::plain : random.pick<Values>(kValues),
                        .formats = random.pick<KvFormats>(kFormats),
                        .wants_first = random.chance(2)};
    if (shape.first_position > 500 && shape.queries > 8) shape.queries = random.between(1, 8);  // the twin is slow
    check_case(checker, shape);
  }
}

}  // namespace nibble::check
