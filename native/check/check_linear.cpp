#include <cstring>
#include <iterator>

#include "checker.h"

namespace nibble::check {
namespace {

enum class Scales : uint8_t { plain, tiny, huge, zero };
constexpr Scales kScales[] = {Scales::plain, Scales::plain, Scales::plain, Scales::tiny, Scales::huge, Scales::zero};

struct LinearCase {
  WeightFormat format;
  size_t groups;  // strips of 32 inputs
  size_t row_tiles;
  size_t columns;
  bool bias;
  bool accumulate;
  Scales scales;
  Values values;
  bool extreme_codes;  // every product of the largest size and one sign: what saturating instructions get wrong
};

/// A finite scale or minimum.
float make_scale(Random& random, Scales kind, bool half) noexcept {
  switch (kind) {
    case Scales::plain:
      return 0.01f * random.unit();
    case Scales::tiny:
      return random.unit() * (half ? 0x1p-20f : 0x1p-140f);
    case Scales::huge:
      return random.unit() * (half ? 65504.0f : 0x1p127f);
    case Scales::zero:
      return random.chance(2) ? 0.0f : -0.0f;
  }
  return 0.0f;
}

void put_scale(uint8_t* out, float value, size_t bytes) noexcept {
  const uint16_t half = f32_to_f16(value);
  if (bytes == 2) std::memcpy(out, &half, 2);
  if (bytes == 4) std::memcpy(out, &value, 4);
}

/// Levels of 16 rows in any order that a file can have: ascending.
void make_levels(Random& random, bool extreme, std::span<uint8_t> out) noexcept {
  for (size_t row = 0; row < kTileRows; ++row) {
    int level = kLowestLevel;
    for (size_t i = 0; i < kCodebookLevels; ++i) {
      level =
          extreme ? (random.chance(2) ? level : kHighestLevel) : static_cast<int>(random.between(level + 32, 63)) - 32;
      out[row * kCodebookLevels + i] = static_cast<uint8_t>(level);
    }
  }
}

uint8_t make_code(Random& random, const WeightFormatInfo& format, bool extreme) noexcept {
  if (format.codebook) return static_cast<uint8_t>(extreme ? (random.chance(2) ? 0 : 0xff) : random.bits());
  if (format.bits == 4 || format.planes) return extreme ? 0xff : static_cast<uint8_t>(random.bits());
  if (format.affine) return extreme ? 63 : static_cast<uint8_t>(random.bits() & 63u);
  if (extreme) return random.chance(2) ? 0x80 : 0x7f;
  return static_cast<uint8_t>(random.bits());
}

void make_weights(Random& random, const LinearCase& shape, std::span<uint8_t> out) noexcept {
  const WeightFormatInfo& format = info(shape.format);
  if (format.is_float()) {
    const size_t bytes = format.bits / 8;
    for (size_t i = 0; i < out.size(); i += bytes) {
      const float value = shape.scales == Scales::tiny   ? make_value(random, Values::tiny)
                          : shape.scales == Scales::huge ? 60000.0f * random.unit()
                          : shape.scales == Scales::zero ? -0.0f
                                                         : random.unit();
      const uint16_t half = shape.format == WeightFormat::f16
                                ? f32_to_f16(value)
                                : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      if (bytes == 2) std::memcpy(&out[i], &half, 2);
      if (bytes == 4) std::memcpy(&out[i], &value, 4);
    }
    return;
  }
  for (size_t tile = 0; tile < out.size(); tile += format.tile_bytes()) {
    const size_t levels = format.codebook ? kTileRows * kCodebookLevels : 0;
    const size_t scales = format.header_bytes() - levels;
    if (levels > 0) make_levels(random, shape.extreme_codes, out.subspan(tile + scales, levels));
    for (size_t i = 0; i < scales; i += format.scale_bytes)
      put_scale(&out[tile + i], make_scale(random, shape.scales, format.scale_bytes == 2), format.scale_bytes);
    for (size_t i = format.header_bytes(); i < format.tile_bytes(); ++i)
      out[tile + i] = make_code(random, format, shape.extreme_codes);
  }
}

void make_activations(Checker& c, const LinearCase& shape, size_t stride, std::span<float> x) {
  fill(c.random, shape.values, x);
  // One row that isn't finite must not touch the others.
  if (shape.values == Values::plain && shape.columns > 1 && c.random.chance(4))
    x[c.random.between(0, shape.columns - 1) * stride] = __builtin_nanf("");
  if (shape.extreme_codes)
    for (float& value : x) value = c.random.chance(2) ? 1.0f : -1.0f;
  if (shape.extreme_codes && c.random.chance(2))
    for (float& value : x) value = 1.0f;
}

void check_case(Checker& c, const LinearCase& shape, bool a8) {
  const WeightFormatInfo& format = info(shape.format);
  const size_t inputs = shape.groups * kTileInputs;
  const size_t outputs = shape.row_tiles * kTileRows;
  const size_t x_stride = inputs + (a8 ? format.activation_group() : 1) * c.random.between(0, 3);
  const size_t y_stride = outputs + c.random.between(0, 20);
  Buffer<uint8_t> tiles(shape.row_tiles * row_tile_bytes(shape.format, inputs), 32 * c.random.between(0, 1));
  Buffer<float> x(shape.columns * x_stride, 4 * c.random.between(0, 15));
  Buffer<float> bias(outputs, 4 * c.random.between(0, 15));
  Buffer<float> got(shape.columns * y_stride + 32, 4 * c.random.between(0, 15)), want(got.size());
  make_weights(c.random, shape, tiles.span());
  make_activations(c, shape, x_stride, x.span());
  fill(c.random, Values::plain, bias.span());
  fill(c.random, Values::plain, got.span());
  Buffer<float> start(got.size());
  for (size_t i = 0; i < got.size(); ++i) start[i] = want[i] = got[i];

  Buffer<A8Block> blocks(a8 ? x.size() / kTileInputs : 0);
  Buffer<uint8_t> scratch(a8 && format.planes ? linear_scratch_bytes(inputs) : 0);
  const int32_t levels = format.planes ? kTableLevels : c.random.chance(4) ? 7 : 127;
  if (a8) c.twin.quantize_a8(x.data(), x.size(), format.activation_group(), levels, blocks.data());
  LinearTask task{.tiles = tiles.data(),
                  .groups = shape.groups,
                  .row_tiles = shape.row_tiles,
                  .x = a8 ? static_cast<const void*>(blocks.data()) : x.data(),
                  .x_stride = a8 ? x_stride / kTileInputs : x_stride,
                  .columns = shape.columns,
                  .y = got.data(),
                  .y_stride = y_stride,
                  .bias = shape.bias ? bias.data() : nullptr,
                  .accumulate = shape.accumulate,
                  .scratch = scratch.data()};
  const size_t f = static_cast<size_t>(shape.format);
  (a8 ? c.level.linear_a8 : c.level.linear_f32)[f](task);
  task.y = want.data();
  (a8 ? c.twin.linear_a8 : c.twin.linear_f32)[f](task);
  c.expect_same(got.span(), want.span(), "linear_%s %s groups %zu row_tiles %zu columns %zu bias %d accumulate %d",
                a8 ? "a8" : "f32", format.name.data(), shape.groups, shape.row_tiles, shape.columns,
                static_cast<int>(shape.bias), static_cast<int>(shape.accumulate));
  if (!a8 || !format.planes) return;
  Buffer<A8Table> tables(blocks.size()), more(blocks.size());
  c.level.make_tables(blocks.data(), x.size(), format.activation_group(), tables.data());
  c.twin.make_tables(blocks.data(), x.size(), format.activation_group(), more.data());
  bool same_tables = true;
  for (size_t i = 0; i < tables.size(); ++i) {
    same_tables = same_tables && std::memcmp(tables[i].entry, more[i].entry, sizeof(more[i].entry)) == 0 &&
                  tables[i].offset == more[i].offset && same(tables[i].d, more[i].d) && same(tables[i].s, more[i].s);
  }
  c.expect(same_tables, "make_tables of %zu inputs", inputs);
  for (size_t i = 0; i < got.size(); ++i) got[i] = start[i];
  task.x = tables.data();
  task.y = got.data();
  c.level.linear_table[f](task);
  c.expect_same(got.span(), want.span(), "linear_table %s groups %zu row_tiles %zu columns %zu", format.name.data(),
                shape.groups, shape.row_tiles, shape.columns);
  for (size_t i = 0; i < got.size(); ++i) got[i] = start[i];
  c.twin.linear_table[f](task);
  c.expect_same(got.span(), want.span(), "the twin's linear_table of %s", format.name.data());
}

}  // namespace

void check_linear(Checker& checker) {
  Random& random = checker.random;
  constexpr size_t kColumns = 37;
  constexpr size_t kMoreColumns[] = {48, 49, 64, 97};  // more than one panel
  for (size_t f = 0; f < kWeightFormatCount; ++f) {
    if (kWeightFormats[f].is_row_scaled()) continue;  // check_tender.cpp
    // Planes are expanded to formats that are checked by themselves: columns needn't be gone through twice.
    const size_t first = kWeightFormats[f].planes ? kColumns + 20 : 0;
    for (size_t i = first; i < 2 * kColumns + std::size(kMoreColumns); ++i) {
      const WeightFormat format = static_cast<WeightFormat>(f);
      const size_t strips = info(format).strips();
      LinearCase shape{.format = format,
                       .groups = strips * (i % 5 == 0 ? 1 : random.between(1, strips > 1 ? 4 : 9)),
                       .row_tiles = i % 7 == 0 ? 1 : random.between(1, 9),
                       .columns = first != 0 && i % 3 != 0 ? i % 9 + 1
                                  : i < 2 * kColumns       ? i % kColumns + 1
                                                           : kMoreColumns[i - 2 * kColumns],
                       .bias = random.chance(2),
                       .accumulate = random.chance(2),
                       .scales = random.pick<Scales>(kScales),
                       .values = random.chance(2) ? Values::plain : random.pick<Values>(kValues),
                       .extreme_codes = random.chance(4)};
      if (shape.extreme_codes) shape.scales = Scales::plain;
      if (shape.columns > kColumns) shape.row_tiles = random.between(1, 5);
      check_case(checker, shape, false);
      if (!info(shape.format).is_float()) check_case(checker, shape, true);
    }
  }
}

}  // namespace nibble::check
