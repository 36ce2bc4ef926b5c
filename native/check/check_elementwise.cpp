#include <cstring>

#include "checker.h"

namespace nibble::check {
namespace {

constexpr size_t kGuard = 32;  // elements behind a shape that nobody may write

void check_rmsnorm(Checker& c, Values kind) {
  for (const size_t n : {16u, 32u, 64u, 576u, 2048u}) {
    const size_t offset = 4 * c.random.between(0, 15);
    Buffer<float> x(n + kGuard, offset), gain(n, 4), got(n + kGuard, offset), want(n + kGuard);
    fill(c.random, kind, x.span());
    fill(c.random, Values::plain, gain.span());
    c.level.rmsnorm(x.data(), gain.data(), n, 1e-5f, got.data());
    c.twin.rmsnorm(x.data(), gain.data(), n, 1e-5f, want.data());
    c.expect_same(got.span(), want.span(), "rmsnorm n %zu values %d", n, static_cast<int>(kind));
    want.copy_from(x);
    c.level.rmsnorm(x.data(), gain.data(), n, 1e-5f, x.data());
    c.twin.rmsnorm(want.data(), gain.data(), n, 1e-5f, want.data());
    c.expect_same(x.span(), want.span(), "rmsnorm in place n %zu values %d", n, static_cast<int>(kind));
  }
}

bool same_block(const A8Block& a, const A8Block& b) noexcept {
  return std::memcmp(a.q, b.q, sizeof(a.q)) == 0 && same(a.d, b.d) && same(a.s, b.s) && same(a.s16[0], b.s16[0]) &&
         same(a.s16[1], b.s16[1]) && std::memcmp(a.n16, b.n16, sizeof(a.n16) + sizeof(a.padding)) == 0;
}

void check_quantize(Checker& c, Values kind) {
  const int32_t levels = c.random.chance(3) ? 7 : 127;
  for (const size_t group : {32u, 64u, 128u}) {
    const size_t n = group * c.random.between(1, 5);
    Buffer<float> x(n, 4 * c.random.between(0, 15));
    fill(c.random, kind, x.span());
    if (c.random.chance(2)) {  // the threshold itself, and rounding ties
      for (size_t i = 0; i < group; ++i) x[i] = 0.0f;
      x[0] = 0x1p-100f;
      if (n > group) {
        for (size_t i = group; i < 2 * group; ++i) x[i] = static_cast<float>(i % 32) - 16.5f;
        x[group + 1] = 127.0f;
      }
    }
    Buffer<A8Block> got(n / 32 + 1), want(n / 32 + 1);
    std::memset(static_cast<void*>(got.data()), 0x55, sizeof(A8Block) * got.size());
    std::memset(static_cast<void*>(want.data()), 0x55, sizeof(A8Block) * want.size());
    c.level.quantize_a8(x.data(), n, group, levels, got.data());
    c.twin.quantize_a8(x.data(), n, group, levels, want.data());
    for (size_t i = 0; i < got.size(); ++i) {
      c.expect(same_block(got[i], want[i]), "quantize_a8 n %zu group %zu levels %d block %zu values %d", n, group,
               static_cast<int>(levels), i, static_cast<int>(kind));
    }
  }
}

void check_silu(Checker& c, Values kind) {
  for (const size_t n : {16u, 48u, 1536u}) {
    Buffer<float> gate(n, 4), up(n, 8), got(n + kGuard, 12), want(n + kGuard), in_place(n);
    fill(c.random, kind, gate.span());
    fill(c.random, c.random.chance(2) ? kind : Values::plain, up.span());
    if (c.random.chance(2))
      for (float& value : gate.span()) value *= 30.0f;
    c.level.silu_mul(gate.data(), up.data(), n, got.data());
    c.twin.silu_mul(gate.data(), up.data(), n, want.data());
    c.expect_same(got.span(), want.span(), "silu_mul n %zu values %d", n, static_cast<int>(kind));
    in_place.copy_from(gate);
    c.level.silu_mul(in_place.data(), up.data(), n, in_place.data());
    c.expect_same(in_place.span(), want.span().first(n), "silu_mul over gate n %zu", n);
    in_place.copy_from(up);
    c.level.silu_mul(gate.data(), in_place.data(), n, in_place.data());
    c.expect_same(in_place.span(), want.span().first(n), "silu_mul over up n %zu", n);
  }
}

void check_rope(Checker& c, Values kind) {
  for (size_t round = 0; round < 24; ++round) {
    const size_t head_dim = 16 * c.random.between(1, 16);
    const size_t rotary = c.random.chance(2) ? head_dim : 2 * c.random.between(1, head_dim / 2);
    const size_t heads = c.random.between(1, 9);
    const bool interleaved = c.random.chance(2);
    Buffer<float> got(heads * head_dim, 4 * c.random.between(0, 15)), want(heads * head_dim);
    Buffer<float> cos(rotary / 2, 4), sin(rotary / 2, 8);
    fill(c.random, kind, got.span());
    for (float& value : cos.span()) value = c.random.unit();
    for (float& value : sin.span()) value = c.random.unit();
    for (size_t i = 0; i < got.size(); ++i) want[i] = got[i];
    c.level.rope(got.data(), heads, head_dim, rotary, cos.data(), sin.data(), interleaved);
    c.twin.rope(want.data(), heads, head_dim, rotary, cos.data(), sin.data(), interleaved);
    c.expect_same(got.span(), want.span(), "rope heads %zu head_dim %zu rotary %zu interleaved %d", heads, head_dim,
                  rotary, static_cast<int>(interleaved));
  }
}

constexpr KvFormat kKvFormats[] = {KvFormat::f16, KvFormat::q8, KvFormat::q4};

/// f16: NaNs are alike, whatever their bits. Quantized: a token of NaN has no defined codes.
bool same_token(KvFormat format, std::span<const uint8_t> a, std::span<const uint8_t> b, size_t token) {
  const auto half = [](std::span<const uint8_t> part, size_t i) {
    return static_cast<uint16_t>(part[2 * i] | part[2 * i + 1] << 8);
  };
  const size_t halves = format == KvFormat::f16 ? a.size() / 2 : 2 * kKvBlockTokens;
  for (size_t i = 0; i < halves; ++i)
    if (!same_f16(half(a, i), half(b, i))) return false;
  const bool is_nan = format != KvFormat::f16 && f16_to_f32(half(a, token)) != f16_to_f32(half(a, token));
  return is_nan || std::equal(a.begin() + static_cast<ptrdiff_t>(2 * halves), a.end(),
                              b.begin() + static_cast<ptrdiff_t>(2 * halves));
}

void check_store(Checker& c, Values kind) {
  for (size_t token = 0; token < kKvBlockTokens; ++token) {
    const size_t head_dim = 16 * c.random.between(1, 16);
    Buffer<float> x(head_dim, 4);
    fill(c.random, kind, x.span());
    if (c.random.chance(2)) {
      x[0] = c.random.chance(2) ? 65520.0f : -65504.0f;  // rounds to infinity; the largest that doesn't
      x[1] = 0x1p-25f;                                   // a tie with 0
    }
    if (c.random.chance(8))  // a range of nothing, of either zero
      for (float& value : x.span()) value = c.random.chance(2) ? 0.0f : -0.0f;
    for (const KvFormat format : kKvFormats) {
      Buffer<uint8_t> got_k(kv_key_bytes(format, head_dim)), want_k(got_k.size());
      Buffer<uint8_t> got_v(kv_value_bytes(format, head_dim)), want_v(got_v.size());
      c.level.store_key(format, x.data(), head_dim, token, got_k.data());
      c.twin.store_key(format, x.data(), head_dim, token, want_k.data());
      c.level.store_value(format, x.data(), head_dim, token, got_v.data());
      c.twin.store_value(format, x.data(), head_dim, token, want_v.data());
      const bool equal = same_token(format, got_k.span(), want_k.span(), token) &&
                         same_token(format, got_v.span(), want_v.span(), token);
      c.expect(equal, "store of KV format %d head_dim %zu token %zu values %d", static_cast<int>(format), head_dim,
               token, static_cast<int>(kind));
    }
  }
}

/// Against the twin, and, since no definition of the twin says so, against the matrix: its own inverse, and its first
/// row the plain sum.
/// Any signs do for equality; that rotations are orthogonal is tested where their signs are made.
void check_rotate(Checker& c, Values kind) {
  const size_t shapes[][2] = {{1, 16}, {1, 512}, {12, 128}, {20, 32}, {36, 16}};
  for (const auto& [order, width] : shapes) {
    const size_t n = order * width;
    Buffer<float> signs(order * order), got(n), want(n), scratch(n);
    for (float& sign : signs.span()) sign = c.random.chance(2) ? 1.0f : -1.0f;
    fill(c.random, kind, got.span());
    for (size_t i = 0; i < n; ++i) want[i] = got[i];
    c.level.rotate({n, order, signs.data()}, got.data(), scratch.data());
    c.twin.rotate({n, order, signs.data()}, want.data(), scratch.data());
    c.expect_same(got.span(), want.span(), "rotate order %zu width %zu values %d", order, width,
                  static_cast<int>(kind));
  }
}

void check_hadamard(Checker& c, Values kind) {
  constexpr size_t kHeadDims[] = {16, 48, 64, 80, 96, 128, 256};
  for (const size_t head_dim : kHeadDims) {
    const size_t heads = c.random.between(1, 4);
    Buffer<float> got(heads * head_dim + kGuard, 4), want(got.size()), x(got.size());
    fill(c.random, kind, got.span());
    want.copy_from(got);
    x.copy_from(got);
    c.level.hadamard(got.data(), heads, head_dim);
    c.twin.hadamard(want.data(), heads, head_dim);
    c.expect_same(got.span(), want.span(), "hadamard head_dim %zu values %d", head_dim, static_cast<int>(kind));
    if (kind != Values::plain) continue;
    const size_t n = head_dim & (~head_dim + 1);
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
    const double first = sum / __builtin_sqrt(static_cast<double>(n)) - static_cast<double>(got[0]);
    c.level.hadamard(got.data(), heads, head_dim);
    for (size_t i = 0; i < heads * head_dim; ++i)
      worst = std::max(worst, __builtin_fabs(static_cast<double>(got[i]) - static_cast<double>(x[i])));
    c.expect(__builtin_fabs(first) < 1e-4 && worst < 1e-4, "hadamard head_dim %zu isn't its own inverse", head_dim);
  }
}

void check_rows(Checker& c, Values kind) {
  for (size_t round = 0; round < 40; ++round) {
    const size_t n = round < 36 ? round + 1 : c.random.between(1, 5000);
    Buffer<float> x(n, 4 * c.random.between(0, 15)), got(n + kGuard, 4), want(n + kGuard);
    fill(c.random, kind, x.span());
    const RowStats a = c.level.row_stats(x.data(), n);
    const RowStats b = c.twin.row_stats(x.data(), n);
    c.expect(a.finite == b.finite && (!b.finite || same(a.max, b.max)), "row_stats n %zu values %d", n,
             static_cast<int>(kind));
    const float max = b.finite ? b.max : 1.0f;
    const float sums[2] = {c.level.sum_exp(x.data(), n, max), c.twin.sum_exp(x.data(), n, max)};
    c.expect_same({&sums[0], 1}, {&sums[1], 1}, "sum_exp n %zu values %d", n, static_cast<int>(kind));
    const float scale = c.random.chance(3) ? 1.0f : 10.0f * c.random.unit();
    c.level.exp_row(x.data(), n, max, scale, got.data());
    c.twin.exp_row(x.data(), n, max, scale, want.data());
    c.expect_same(got.span(), want.span(), "exp_row n %zu values %d", n, static_cast<int>(kind));
  }
}

void check_merge(Checker& c, Values kind) {
  for (size_t head_dim = 16; head_dim <= 256; head_dim += 16) {
    const size_t n = c.random.between(1, 40);
    const size_t size = n * (head_dim + 2);  // m, l and o of n columns
    Buffer<float> got(size + kGuard, 4), want(size + kGuard), other(size, 8), y(head_dim + kGuard), z(y.size());
    fill(c.random, kind, got.span());
    fill(c.random, kind, other.span());
    for (size_t i = 0; i < n; ++i) {
      if (!c.random.chance(4)) continue;  // else a split in which the column sees nothing
      other[i] = -1.0f / 0.0f;
      other[n + i] = 0.0f;
    }
    want.copy_from(got);
    const auto merge = [&](const KernelTable& table, Buffer<float>& into) {
      table.attention_merge({.o = &into[2 * n],
                             .m = &into[0],
                             .l = &into[n],
                             .o2 = &other[2 * n],
                             .m2 = &other[0],
                             .l2 = &other[n],
                             .columns = n,
                             .head_dim = head_dim});
    };
    merge(c.level, got);
    merge(c.twin, want);
    c.expect_same(got.span(), want.span(), "attention_merge columns %zu head_dim %zu values %d", n, head_dim,
                  static_cast<int>(kind));
    c.level.attention_finish(&got[2 * n], got[n], head_dim, y.data());
    c.twin.attention_finish(&want[2 * n], want[n], head_dim, z.data());
    c.expect_same(y.span(), z.span(), "attention_finish head_dim %zu values %d", head_dim, static_cast<int>(kind));
  }
}

}  // namespace

void check_elementwise(Checker& checker) {
  for (const Values kind : kValues) {
    for (int round = 0; round < 4; ++round) {
      check_rmsnorm(checker, kind);
      check_quantize(checker, kind);
      check_silu(checker, kind);
      check_rope(checker, kind);
      check_store(checker, kind);
      check_hadamard(checker, kind);
      check_rotate(checker, kind);
      check_rows(checker, kind);
      check_merge(checker, kind);
    }
  }
}

}  // namespace nibble::check
