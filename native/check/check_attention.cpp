#include <algorithm>
#include <iterator>
#include <utility>

#include "checker.h"

namespace nibble::check {
namespace {

constexpr uint16_t kNanF16 = 0x7e00;

struct AttentionCase {
  size_t head_dim;
  size_t group;
  size_t queries;
  size_t first_position;
  float scale;
  Values values;
};

/// A sequence's blocks in a pool, out of order; everything that no query may see is NaN.
struct Cache {
  Buffer<uint8_t> pool;
  std::vector<int32_t> blocks;
  size_t block_bytes;
  size_t k_offset;
  size_t v_offset;
};

Cache make_cache(Random& random, const AttentionCase& shape, size_t tokens, size_t finite_tokens) {
  const size_t count = (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
  const size_t part = shape.head_dim * kKvBlockTokens * sizeof(uint16_t);
  const size_t k_offset = 64 * random.between(0, 2);
  const size_t v_offset = k_offset + part;
  const size_t block_bytes = v_offset + part + 64 * random.between(0, 2);
  const size_t pool_blocks = count + random.between(1, 4);
  Cache cache{Buffer<uint8_t>(pool_blocks * block_bytes), {}, block_bytes, k_offset, v_offset};
  auto* halves = reinterpret_cast<uint16_t*>(cache.pool.data());
  for (size_t i = 0; i < cache.pool.size() / 2; ++i) halves[i] = kNanF16;

  std::vector<int32_t> ids(pool_blocks);
  for (size_t i = 0; i < pool_blocks; ++i) ids[i] = static_cast<int32_t>(i);
  for (size_t i = pool_blocks; i > 1; --i) std::swap(ids[i - 1], ids[random.between(0, i - 1)]);
  cache.blocks.assign(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count));

  for (size_t t = 0; t < finite_tokens; ++t) {
    uint8_t* block = cache.pool.data() + static_cast<size_t>(cache.blocks[t / kKvBlockTokens]) * block_bytes;
    auto* k = reinterpret_cast<uint16_t*>(block + k_offset) + t % kKvBlockTokens;
    auto* v = reinterpret_cast<uint16_t*>(block + v_offset) + t % kKvBlockTokens * shape.head_dim;
    for (size_t d = 0; d < shape.head_dim; ++d) {
      k[d * kKvBlockTokens] = f32_to_f16(make_value(random, shape.values));
      v[d] = f32_to_f16(make_value(random, shape.values));
    }
  }
  return cache;
}

struct Outputs {
  Buffer<float> o, m, l;
  explicit Outputs(const AttentionCase& s)
      : o(s.queries * s.group * s.head_dim + 16, 4), m(s.queries * s.group + 16, 8), l(s.queries * s.group + 16, 12) {}
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
  task.pool = cache.pool.data();
  task.block_bytes = cache.block_bytes;
  task.k_offset = task.next_k_offset = cache.k_offset;
  task.v_offset = cache.v_offset;
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
  Cache cache = make_cache(c.random, shape, tokens, finite);
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
    task.scratch = scratch.data();
    fill(c.random, Values::not_finite, scratch.span());
    c.level.attention(task);
    task.o = want.o.data();
    task.m = want.m.data();
    task.l = want.l.data();
    c.twin.attention(task);
    const auto compare = [&](Buffer<float>& a, Buffer<float>& b, const char* what) {
      c.expect_same(a.span(), b.span(), "attention %s: head_dim %zu group %zu queries %zu position %zu split %zu", what,
                    shape.head_dim, shape.group, shape.queries, shape.first_position, split);
    };
    compare(got.m, want.m, "m");
    compare(got.l, want.l, "l");
    compare(got.o, want.o, "o");
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

}  // namespace

void check_attention(Checker& checker) {
  Random& random = checker.random;
  constexpr size_t kHeadDims[] = {16, 32, 48, 64, 64, 80, 96, 112, 128, 256};
  constexpr size_t kPositions[] = {0, 1, 14, 15, 16, 17, 31, 100, 239, 240, 255, 256, 257, 500, 511, 512, 1023, 1500};
  for (size_t round = 0; round < 120; ++round) {
    const size_t group = random.between(1, 9);
    const size_t queries_max = kAttentionColumnsMax / group;
    AttentionCase shape{.head_dim = random.pick<size_t>(kHeadDims),
                        .group = group,
                        .queries = random.chance(3) ? 1 : random.between(1, queries_max),
                        .first_position = kPositions[round % std::size(kPositions)],
                        .scale = 0.125f,
                        .values = random.chance(2) ? Values::plain : random.pick<Values>(kValues)};
    if (shape.first_position > 500 && shape.queries > 8) shape.queries = random.between(1, 8);  // the twin is slow
    check_case(checker, shape);
  }
}

}  // namespace nibble::check
