// Tender's kernels against their scalar twin, and the twin against the sum over groups that shifting stands for.
#include <algorithm>
#include <cstring>
#include <vector>

#include "../kernels/tender.h"
#include "checker.h"

namespace nibble::check {
namespace {

struct TenderCase {
  size_t bits;  // of a weight
  std::vector<uint32_t> ends;
  size_t row_tiles;
  size_t columns;
  bool bias;
  bool accumulate;
  bool wide;
  bool extreme;  // every code of the largest size, one sign a row
  size_t inputs() const noexcept { return size_t{4} * ends.back(); }
  size_t row_tile_bytes() const noexcept { return 64 + inputs() * kTileRows * bits / 8; }
};

/// Weight of one row and input, from the comment of weight_format.h.
int weight_of(const TenderCase& shape, const uint8_t* tiles, size_t n, size_t k) noexcept {
  const uint8_t* codes = tiles + n / kTileRows * shape.row_tile_bytes() + 64 + k / 32 * (32 * 16 * shape.bits / 8);
  const size_t row = n % kTileRows;
  const size_t i = k % 32;
  if (shape.bits == 8) return static_cast<int8_t>(codes[i / 4 * 64 + row * 4 + i % 4]);
  const uint8_t both = codes[i % 16 / 4 * 64 + row * 4 + i % 4];
  return (i < 16 ? both % 16 : both / 16) - 8;
}

/// f32(Σ_g 2^(G−1−g) · P_g) · (d_w · d), group by group, for one output.
float expected(const TenderCase& shape, const uint8_t* tiles, const A8Block* x, size_t n) noexcept {
  int64_t sum = 0;
  size_t begin = 0;
  for (size_t g = 0; g < shape.ends.size(); ++g) {
    int64_t part = 0;
    for (size_t k = begin; k < size_t{4} * shape.ends[g]; ++k)
      part += weight_of(shape, tiles, n, k) * x[k / 32].q[k % 32];
    sum += part * (int64_t{1} << (shape.ends.size() - 1 - g));
    begin = size_t{4} * shape.ends[g];
  }
  float scale;
  std::memcpy(&scale, tiles + n / kTileRows * shape.row_tile_bytes() + n % kTileRows * 4, 4);
  return static_cast<float>(sum) * (scale * x[0].d);
}

void fill_tiles(Random& random, const TenderCase& shape, std::span<uint8_t> tiles) noexcept {
  for (size_t at = 0; at < tiles.size(); at += shape.row_tile_bytes()) {
    for (size_t row = 0; row < kTileRows; ++row) {
      const float scale = 0.01f * random.unit();
      std::memcpy(&tiles[at + 4 * row], &scale, 4);
    }
    for (size_t i = 64; i < shape.row_tile_bytes(); ++i) {
      const bool odd_row = i / 4 % 2 == 1;
      const uint8_t most = shape.bits == 4 ? (odd_row ? 0x11 : 0xff) : (odd_row ? 0x81 : 0x7f);
      tiles[at + i] = shape.extreme ? most : static_cast<uint8_t>(random.bits());
    }
  }
}

/// Rows of codes by the twin's quantizer, which the level's must repeat.
void make_rows(Checker& c, const TenderCase& shape, size_t stride, std::span<A8Block> rows) {
  const size_t inputs = shape.inputs();
  std::vector<int32_t> order(inputs);
  std::vector<int32_t> weight(inputs);
  std::vector<float> bias(inputs);
  std::vector<float> finer(inputs);
  const bool biased = c.random.chance(2);
  size_t g = 0;
  for (size_t k = 0; k < inputs; ++k) {
    while (k >= size_t{4} * shape.ends[g]) ++g;
    order[k] = static_cast<int32_t>((k + 3) % inputs ^ 1);
    weight[k] = static_cast<int32_t>(uint32_t{1} << (shape.ends.size() - 1 - g));
    finer[k] = static_cast<float>(uint32_t{1} << g);
    bias[k] = shape.extreme || !biased ? 0.0f : 0.1f * c.random.unit();
  }
  Buffer<float> x(inputs, 4 * c.random.between(0, 15));
  Buffer<A8Block> got(inputs / 32);
  Buffer<float> own(inputs, 4 * c.random.between(0, 15));
  TenderInput how{.order = order.data(),
                  .bias = bias.data(),
                  .finer = finer.data(),
                  .weight = weight.data(),
                  .inputs = inputs,
                  .inverse = 64.0f,
                  .step = 0.01f,
                  .limit = shape.extreme || c.random.chance(2) ? 127.0f : 7.0f,
                  .last = 1.0f / static_cast<float>(uint32_t{1} << (shape.ends.size() - 1)),
                  .own = nullptr};
  for (size_t column = 0; column < shape.columns; ++column) {
    fill(c.random, Values::plain, x.span());
    for (size_t k = 0; shape.extreme && k < inputs; ++k) x[k] = column % 2 == 0 ? 1000.0f : -1000.0f;
    if (!shape.extreme && c.random.chance(8)) x[c.random.between(0, inputs - 1)] = __builtin_inff();
    if (c.random.chance(8)) std::fill(x.data(), x.data() + inputs, c.random.chance(2) ? 0.0f : 0x1p-120f);
    how.own = shape.extreme || c.random.chance(2) ? nullptr : own.data();
    A8Block* out = rows.data() + column * stride;
    tender_kernels(c.twin.isa)->quantize(x.data(), how, out);
    tender_kernels(c.level.isa)->quantize(x.data(), how, got.data());
    bool equal = same(got[0].d, out[0].d) && got[0].n16[0] == out[0].n16[0];
    for (size_t b = 0; b < got.size(); ++b) equal = equal && std::memcmp(got[b].q, out[b].q, 32) == 0;
    c.expect(equal, "tender quantize: inputs %zu groups %zu", inputs, shape.ends.size());
  }
}

/// The same weights over f32 inputs.
void check_f32(Checker& c, const TenderCase& shape, LinearTask task) {
  Buffer<float> x(shape.columns * shape.inputs());
  Buffer<float> got(shape.columns * task.y_stride), want(got.size());
  fill(c.random, Values::plain, x.span());
  fill(c.random, Values::plain, got.span());
  want.copy_from(got);
  task.x = x.data();
  task.x_stride = shape.inputs();
  task.y = got.data();
  const size_t kind = shape.bits == 8 ? 0 : 1;
  tender_kernels(c.level.isa)->linear_f32[kind](task);
  task.y = want.data();
  tender_kernels(c.twin.isa)->linear_f32[kind](task);
  c.expect_same(got.span(), want.span(), "tender f32 w%zu inputs %zu columns %zu", shape.bits, shape.inputs(),
                shape.columns);
}

void check_case(Checker& c, const TenderCase& shape) {
  const size_t outputs = shape.row_tiles * kTileRows;
  const size_t stride = shape.inputs() / 32 + c.random.between(0, 3);
  const size_t y_stride = outputs + c.random.between(0, 20);
  Buffer<uint8_t> tiles(shape.row_tiles * shape.row_tile_bytes(), 32 * c.random.between(0, 1));
  Buffer<A8Block> x(shape.columns * stride);
  Buffer<float> bias(outputs, 4 * c.random.between(0, 15));
  Buffer<float> got(shape.columns * y_stride + 32, 4 * c.random.between(0, 15)), want(got.size());
  fill_tiles(c.random, shape, tiles.span());
  make_rows(c, shape, stride, x.span());
  fill(c.random, Values::plain, bias.span());
  fill(c.random, Values::plain, got.span());
  want.copy_from(got);
  TenderTask task{.linear = {.tiles = tiles.data(),
                             .groups = shape.inputs() / 32,
                             .row_tiles = shape.row_tiles,
                             .x = x.data(),
                             .x_stride = stride,
                             .columns = shape.columns,
                             .y = got.data(),
                             .y_stride = y_stride,
                             .bias = shape.bias ? bias.data() : nullptr,
                             .accumulate = shape.accumulate},
                  .ends = shape.ends.data(),
                  .count = shape.ends.size(),
                  .wide = shape.wide};
  const size_t kind = shape.bits == 8 ? 0 : 1;
  tender_kernels(c.level.isa)->linear[kind](task);
  task.linear.y = want.data();
  tender_kernels(c.twin.isa)->linear[kind](task);
  c.expect_same(got.span(), want.span(), "tender w%zu inputs %zu groups %zu row_tiles %zu columns %zu wide %d",
                shape.bits, shape.inputs(), shape.ends.size(), shape.row_tiles, shape.columns,
                static_cast<int>(shape.wide));
  check_f32(c, shape, task.linear);
  if (shape.bias || shape.accumulate) return;
  const size_t n = c.random.between(0, outputs - 1);
  const float sum = expected(shape, tiles.data(), x.data(), n);
  c.expect(same(sum, want[n]), "tender w%zu: the twin has %a, the sum over groups %a", shape.bits,
           static_cast<double>(want[n]), static_cast<double>(sum));
}

/// Random ends of groups, empty ones among them; the last is `chunks`.
std::vector<uint32_t> random_ends(Random& random, size_t groups, size_t chunks) {
  std::vector<uint32_t> ends(groups);
  for (uint32_t& end : ends) end = static_cast<uint32_t>(random.between(0, chunks));
  ends.back() = static_cast<uint32_t>(chunks);
  for (size_t i = 1; i + 1 < groups; ++i)
    for (size_t k = i; k > 0 && ends[k] < ends[k - 1]; --k) std::swap(ends[k], ends[k - 1]);
  return ends;
}

/// Sixteen channels of the largest codes in the first of 14 groups, and as many in the last as 31 bits just hold, or
/// just don't.
std::vector<uint32_t> border(size_t last_channels) {
  std::vector<uint32_t> ends(14, 4);
  ends.back() = static_cast<uint32_t>(4 + last_channels / 4);
  return ends;
}

}  // namespace

void check_tender(Checker& c) {
  if (tender_kernels(c.level.isa) == nullptr) return c.expect(false, "tender: the level has no kernels");
  const uint64_t calls = tender_kernels(c.level.isa)->calls->load();
  for (const size_t bits : {size_t{8}, size_t{4}}) {
    for (size_t i = 0; i < 60; ++i) {
      const size_t groups = i % 5 == 0 ? 1 : c.random.between(1, 14);
      TenderCase shape{.bits = bits,
                       .ends = random_ends(c.random, groups, 8 * c.random.between(1, 9)),
                       .row_tiles = c.random.between(1, 5),
                       .columns = c.random.between(1, 9),
                       .bias = c.random.chance(2),
                       .accumulate = c.random.chance(2),
                       .wide = false,
                       .extreme = c.random.chance(3)};
      const uint64_t most = tender_accumulator_max(shape.ends.data(), groups, 127, bits == 8 ? 128 : 8);
      shape.wide = most > INT32_MAX || c.random.chance(5);
      check_case(c, shape);
    }
  }
  const auto most = [](size_t last) { return tender_accumulator_max(border(last).data(), 14, 127, 127); };
  c.expect(most(2064) == 127ull * 127 * (16 * 8192 + 2064) && most(2064) <= INT32_MAX, "tender: the bound that fits");
  c.expect(most(2096) > INT32_MAX, "tender: the bound that doesn't fit");
  check_case(c, {8, border(2064), 1, 3, false, false, false, true});
  check_case(c, {8, border(2096), 1, 3, false, false, true, true});
  const uint32_t far = 1u << 20;
  c.expect(tender_accumulator_max(std::vector<uint32_t>(60, far).data(), 60, 127, 127) == INT64_MAX,
           "tender: no bound");
  c.expect(tender_kernels(c.level.isa)->calls->load() > calls, "tender: the level counted no calls");
}

}  // namespace nibble::check
