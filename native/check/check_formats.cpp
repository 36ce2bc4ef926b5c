#include "check_formats.h"

#include <bit>
#include <cstring>
#include <memory>
#include <random>
#include <span>

#include "../formats/f16.h"
#include "../formats/pack.h"

namespace nibble {

namespace {

using Random = std::mt19937_64;

/// A type with the places of its f16 scales and minima in a block, as the GGUF specification has them.
struct Layout {
  GgmlType type;
  std::vector<size_t> scale_offsets;
  size_t levels_offset = 0;  // of a codebook's four levels; 0: it isn't one
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> list = {
      {GgmlType::f32, {}},
      {GgmlType::f16, {}},
      {GgmlType::bf16, {}},
      {GgmlType::q4_0, {0}},
      {GgmlType::q4_1, {0, 2}},
      {GgmlType::q5_0, {0}},
      {GgmlType::q5_1, {0, 2}},
      {GgmlType::q8_0, {0}},
      {GgmlType::q2_k, {80, 82}},
      {GgmlType::q3_k, {108}},
      {GgmlType::q4_k, {0, 2}},
      {GgmlType::q5_k, {0, 2}},
      {GgmlType::q6_k, {208}},
      {GgmlType::nb_w4g64, {0}},
      {GgmlType::nb_w4g64a, {0, 2}},
      {GgmlType::nb_w4g128, {0}},
      {GgmlType::nb_w4g128a, {0, 2}},
      {GgmlType::nb_w8g64, {0}},
      {GgmlType::nb_w8g128, {0}},
      {GgmlType::nb_w2g64c, {0}, 2},
      {GgmlType::nb_w2g128c, {0}, 2},
      {GgmlType::nb_w1g64, {0}},
      {GgmlType::nb_w1g128, {0}},
      {GgmlType::nb_w2g64, {0}},
      {GgmlType::nb_w2g64a, {0, 2}},
      {GgmlType::nb_w2g128, {0}},
      {GgmlType::nb_w3g64, {0}},
      {GgmlType::nb_w3g128, {0}},
      {GgmlType::nb_w4g64p, {0}},
      {GgmlType::nb_t2g64, {0}},
      {GgmlType::tq1_0, {52}},
      {GgmlType::tq2_0, {64}},
  };
  return list;
}

/// Exactly as many bytes as asked for, at an odd address, so that a sanitizer sees a read beyond either end.
struct Buffer {
  explicit Buffer(size_t bytes) : memory(new uint8_t[bytes + 1]()), size(bytes) {}
  uint8_t* data() { return memory.get() + 1; }
  std::unique_ptr<uint8_t[]> memory;
  size_t size;
};

uint16_t random_finite_f16(Random& random) {
  static constexpr uint16_t extremes[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfbff, 0x3c00, 0x0400};
  if (random() % 8 == 0) return extremes[random() % std::size(extremes)];
  uint16_t bits = static_cast<uint16_t>(random());
  while ((bits & 0x7c00u) == 0x7c00u) bits = static_cast<uint16_t>(random());
  return bits;
}

void fill_float(GgmlType type, Random& random, uint8_t* at) {
  const uint16_t half = random_finite_f16(random);
  if (type == GgmlType::f16) {
    std::memcpy(at, &half, 2);
  } else if (type == GgmlType::bf16) {
    uint16_t bits = static_cast<uint16_t>(random());
    if ((bits & 0x7f80u) == 0x7f80u) bits ^= 0x4000u;
    std::memcpy(at, &bits, 2);
  } else {
    uint32_t bits = static_cast<uint32_t>(random());
    if ((bits & 0x7f800000u) == 0x7f800000u) bits ^= 0x40000000u;
    std::memcpy(at, &bits, 4);
  }
}

Buffer random_rows(const Layout& layout, const GgmlTypeInfo& type, size_t rows, size_t cols, Random& random) {
  Buffer buffer(ggml_bytes(type, rows, cols));
  for (size_t at = 0; at < buffer.size; at += type.block_bytes) {
    if (layout.scale_offsets.empty()) {
      fill_float(layout.type, random, buffer.data() + at);
      continue;
    }
    for (size_t i = 0; i < type.block_bytes; ++i) buffer.data()[at + i] = static_cast<uint8_t>(random());
    // No code of 3: of no pair of bits, or of planes, both are set.
    for (size_t i = 0; layout.type == GgmlType::tq2_0 && i < 64; ++i) {
      const unsigned byte = buffer.data()[at + i];
      buffer.data()[at + i] = static_cast<uint8_t>(byte & ~((byte & byte >> 1 & 0x55u) << 1));
    }
    for (size_t i = 2; layout.type == GgmlType::nb_t2g64 && i < 10; ++i) {
      buffer.data()[at + i + 8] &= static_cast<uint8_t>(~buffer.data()[at + i]);
    }
    for (const size_t offset : layout.scale_offsets) {
      const uint16_t scale = random_finite_f16(random);
      std::memcpy(buffer.data() + at + offset, &scale, 2);
    }
    for (size_t i = 0, level = 0; layout.levels_offset > 0 && i < kCodebookLevels; ++i) {
      level += random() % (64 - level);
      buffer.data()[at + layout.levels_offset + i] = static_cast<uint8_t>(level - 32);
    }
  }
  return buffer;
}

struct Case {
  std::vector<std::string>& failures;
  std::string name;

  void expect(bool ok, const std::string& what) const {
    if (!ok) failures.push_back(name + ": " + what);
  }
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

void check_values(const Case& test, const Layout& layout, size_t rows, size_t cols, Random& random) {
  const GgmlTypeInfo& type = *ggml_type_info(static_cast<uint32_t>(layout.type));
  Buffer file = random_rows(layout, type, rows, cols, random);
  std::vector<float> expected(rows * cols);
  test.expect(dequantize_rows(layout.type, file.data(), rows, cols, expected.data()).ok(), "dequantize_rows refused");

  PackedView view{nullptr, type.home, rows, cols};
  Buffer packed(view.bytes());
  test.expect(pack_row_tiles(layout.type, file.data(), rows, cols, 0, row_tiles(rows), packed.data()).ok(),
              "pack_row_tiles refused");
  view.tiles = packed.data();
  std::vector<float> row(cols);
  for (size_t r = 0; r < rows; ++r) {
    unpack_row(view, r, row.data());
    test.expect(same_bits(row, std::span(expected).subspan(r * cols, cols)), "row " + std::to_string(r) + " differs");
  }
  for (size_t r = rows; r < row_tiles(rows) * kTileRows; ++r) {
    unpack_row(view, r, row.data());
    for (const float value : row) test.expect(std::bit_cast<uint32_t>(value) == 0, "padding is not zero");
  }

  // Tile by tile, last first: the same bytes.
  Buffer portions(view.bytes());
  for (size_t tile = row_tiles(rows); tile-- > 0;) {
    const uint8_t* tile_rows = file.data() + tile * kTileRows * (file.size / rows);
    const Status status =
        pack_row_tiles(layout.type, tile_rows, rows, cols, tile, 1, portions.data() + tile * view.row_tile_bytes());
    test.expect(status.ok(), "a portion was refused");
  }
  test.expect(std::memcmp(portions.data(), packed.data(), packed.size) == 0, "portions differ from the whole");
  test.expect(!pack_row_tiles(layout.type, file.data(), rows, cols, row_tiles(rows), 1, packed.data()).ok(),
              "tiles beyond the end were accepted");
}

/// Puts NaN or infinity at one place and expects both entry points to refuse it.
void check_refusal(const Case& test, const Layout& layout, Random& random) {
  const GgmlTypeInfo& type = *ggml_type_info(static_cast<uint32_t>(layout.type));
  const size_t cols = 3 * (type.block_values == 1 ? 32 : type.block_values);
  const size_t rows = 18;
  const std::vector<size_t> offsets = layout.scale_offsets.empty() ? std::vector<size_t>{0} : layout.scale_offsets;
  for (const size_t offset : offsets) {
    for (const bool is_nan : {false, true}) {
      Buffer file = random_rows(layout, type, rows, cols, random);
      const size_t block = random() % (file.size / type.block_bytes);
      uint8_t* at = file.data() + block * type.block_bytes + offset;
      if (layout.type == GgmlType::f32) {
        const uint32_t bits = is_nan ? 0xffc00001u : 0x7f800000u;
        std::memcpy(at, &bits, 4);
      } else {
        const uint16_t infinity = layout.type == GgmlType::bf16 ? 0xff80u : 0xfc00u;
        const uint16_t bits = static_cast<uint16_t>(infinity | (is_nan ? 1u : 0u));
        std::memcpy(at, &bits, 2);
      }
      std::vector<float> values(rows * cols);
      Buffer packed(PackedView{nullptr, type.home, rows, cols}.bytes());
      const Status unpacked = dequantize_rows(layout.type, file.data(), rows, cols, values.data());
      const Status packing = pack_row_tiles(layout.type, file.data(), rows, cols, 0, row_tiles(rows), packed.data());
      test.expect(unpacked.code == ErrorCode::model_tensor_not_finite, "dequantize_rows accepted NaN or infinity");
      test.expect(packing.code == ErrorCode::model_tensor_not_finite, "pack_row_tiles accepted NaN or infinity");
    }
  }
  test.expect(!dequantize_rows(layout.type, nullptr, 0, cols, nullptr).ok(), "a matrix without rows was accepted");
  if (type.block_values > 1) {
    const Status status = pack_row_tiles(layout.type, nullptr, 16, cols + 1, 0, 1, nullptr);
    test.expect(status.code == ErrorCode::model_tensor_shape, "a partial block was accepted");
  }
}

/// The order of codes, written out from the comment of weight_format.h, on values that tell row and input.
void check_layout(std::vector<std::string>& failures) {
  const Case test{failures, "layout"};
  constexpr size_t kRows = 16;
  Buffer eight(kRows * 34);
  Buffer four(kRows * 18);
  for (size_t r = 0; r < kRows; ++r) {
    const uint16_t scale = static_cast<uint16_t>(0x3c00u + r);
    std::memcpy(eight.data() + r * 34, &scale, 2);
    std::memcpy(four.data() + r * 18, &scale, 2);
    for (size_t i = 0; i < 32; ++i) eight.data()[r * 34 + 2 + i] = static_cast<uint8_t>(7 * r + i);
    for (size_t i = 0; i < 16; ++i) {
      const size_t low = (r + i) % 16;
      const size_t high = (r + i + 16 + 5) % 16;
      four.data()[r * 18 + 2 + i] = static_cast<uint8_t>(low | high << 4);
    }
  }
  Buffer tile8(544);
  Buffer tile4(288);
  test.expect(pack_row_tiles(GgmlType::q8_0, eight.data(), kRows, 32, 0, 1, tile8.data()).ok(), "Q8_0 refused");
  test.expect(pack_row_tiles(GgmlType::q4_0, four.data(), kRows, 32, 0, 1, tile4.data()).ok(), "Q4_0 refused");
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t i = 0; i < 32; ++i) {
      const size_t at8 = 32 + (i / 4) * 64 + r * 4 + i % 4;
      test.expect(tile8.data()[at8] == static_cast<uint8_t>(7 * r + i), "8-bit code at the wrong place");
      const size_t at4 = 32 + (i % 16 / 4) * 64 + r * 4 + i % 4;
      const unsigned byte = tile4.data()[at4];
      const size_t code = i < 16 ? byte & 15u : byte >> 4;
      test.expect(code == (i < 16 ? (r + i) % 16 : (r + i + 5) % 16), "4-bit code at the wrong place");
    }
    uint16_t scale;
    std::memcpy(&scale, tile8.data() + r * 2, 2);
    test.expect(scale == 0x3c00u + r, "8-bit scale at the wrong place");
    std::memcpy(&scale, tile4.data() + r * 2, 2);
    test.expect(scale == 0x3c00u + r, "4-bit scale at the wrong place");
  }
}

/// Codebook blocks, written out from their definition; and levels that aren't in order or range.
void check_codebook(const Case& test, size_t group) {
  const GgmlType type = group == 64 ? GgmlType::nb_w2g64c : GgmlType::nb_w2g128c;
  const int levels[kCodebookLevels] = {-32, -5, 3, 31};
  const auto code = [](size_t i) { return static_cast<unsigned>(i * 3 + i / 4 + i / 16) % 4; };
  Buffer block(6 + group / 4);
  const uint16_t scale = 0x3400;  // 0.25
  std::memcpy(block.data(), &scale, 2);
  for (size_t i = 0; i < kCodebookLevels; ++i) block.data()[2 + i] = static_cast<uint8_t>(levels[i]);
  for (size_t i = 0; i < group / 4; ++i) block.data()[6 + i] = 0;
  for (size_t v = 0; v < group; ++v) {
    const size_t i = v / 16, p = v % 16 / 4, b = v % 4;
    block.data()[6 + 4 * i + b] = static_cast<uint8_t>(block.data()[6 + 4 * i + b] | code(v) << (2 * p));
  }
  std::vector<float> values(group);
  test.expect(dequantize_rows(type, block.data(), 1, group, values.data()).ok(), "a codebook was refused");
  for (size_t i = 0; i < group; ++i) {
    test.expect(values[i] == 0.25f * static_cast<float>(levels[code(i)]), "codebook value " + std::to_string(i));
  }
  const int wrong[][kCodebookLevels] = {{-33, 0, 1, 2}, {-5, -4, 0, 32}, {0, 3, 2, 4}, {1, 0, 2, 3}, {0, 1, 3, 2}};
  for (const auto& four : wrong) {
    for (size_t i = 0; i < kCodebookLevels; ++i) block.data()[2 + i] = static_cast<uint8_t>(four[i]);
    const Status status = dequantize_rows(type, block.data(), 1, group, values.data());
    test.expect(status.code == ErrorCode::model_tensor_not_finite, "malformed levels were accepted");
  }
}

/// Nibble's own blocks, written out from their definition: every value tells its place.
void check_own_types(std::vector<std::string>& failures) {
  const Case test{failures, "own types"};
  const auto code = [](size_t i) { return static_cast<unsigned>(i * 7 + i / 16) % 16; };
  for (const size_t group : {size_t{64}, size_t{128}}) {
    const bool wide = group == 128;
    for (const bool affine : {false, true}) {
      Buffer block((affine ? 4 : 2) + group / 2);
      const uint16_t scale = 0x3800, minimum = 0xc200;  // 0.5, −3
      std::memcpy(block.data(), &scale, 2);
      if (affine) std::memcpy(block.data() + 2, &minimum, 2);
      for (size_t i = 0; i < group / 2; ++i) {
        block.data()[(affine ? 4 : 2) + i] = static_cast<uint8_t>(code(i) | code(i + group / 2) << 4);
      }
      const GgmlType type = affine ? (wide ? GgmlType::nb_w4g128a : GgmlType::nb_w4g64a)
                                   : (wide ? GgmlType::nb_w4g128 : GgmlType::nb_w4g64);
      std::vector<float> values(group);
      test.expect(dequantize_rows(type, block.data(), 1, group, values.data()).ok(), "4 bits refused");
      for (size_t i = 0; i < group; ++i) {
        const float q = static_cast<float>(code(i));
        test.expect(values[i] == (affine ? 0.5f * q - 3.0f : 0.5f * (q - 8.0f)), "4-bit value " + std::to_string(i));
      }
    }
    check_codebook(test, group);
    Buffer block(2 + group);
    const uint16_t scale = 0x4000;  // 2
    std::memcpy(block.data(), &scale, 2);
    for (size_t i = 0; i < group; ++i) block.data()[2 + i] = static_cast<uint8_t>(i - 64);
    std::vector<float> values(group);
    const GgmlType type = wide ? GgmlType::nb_w8g128 : GgmlType::nb_w8g64;
    test.expect(dequantize_rows(type, block.data(), 1, group, values.data()).ok(), "8 bits refused");
    for (size_t i = 0; i < group; ++i) {
      test.expect(values[i] == 2.0f * (static_cast<float>(i) - 64.0f), "8-bit value " + std::to_string(i));
    }
  }
}

/// Blocks of bit planes, written out from their definition, and ternary ones by the arithmetic of their packing.
void check_planes(std::vector<std::string>& failures) {
  const Case test{failures, "planes"};
  const auto code = [](size_t i, unsigned bits) {
    return static_cast<unsigned>(i * 11 + i / 8 + i / 32) % (1u << bits);
  };
  const auto values_of = [&](GgmlType type, const Buffer& block, size_t count) {
    std::vector<float> values(count);
    test.expect(dequantize_rows(type, block.memory.get() + 1, 1, count, values.data()).ok(), "refused");
    return values;
  };
  const GgmlType types[] = {GgmlType::nb_w1g64, GgmlType::nb_w2g64, GgmlType::nb_w3g64, GgmlType::nb_w4g64p};
  for (unsigned bits = 1; bits <= 4; ++bits) {
    Buffer block(2 + bits * 8);
    const uint16_t scale = 0x4000;  // 2
    std::memcpy(block.data(), &scale, 2);
    for (size_t i = 0; i < 64 * bits; ++i) {
      block.data()[2 + i / 8] |= static_cast<uint8_t>((code(i % 64, bits) >> i / 64 & 1u) << i % 8);
    }
    const std::vector<float> values = values_of(types[bits - 1], block, 64);
    for (size_t i = 0; i < 64; ++i) {
      const float odd = 2.0f * static_cast<float>(code(i, bits)) - static_cast<float>((1u << bits) - 1);
      test.expect(values[i] == odd, std::to_string(bits) + " bits, value " + std::to_string(i));
    }
  }
  const auto trit = [](size_t i) { return static_cast<unsigned>(i * 7 + i / 5 + i / 64) % 3; };
  Buffer two(66), one(54);
  const uint16_t scale = 0x3e00;  // 1.5
  std::memcpy(two.data() + 64, &scale, 2);
  std::memcpy(one.data() + 52, &scale, 2);
  for (size_t i = 0; i < 256; ++i)
    two.data()[i / 128 * 32 + i % 32] |= static_cast<uint8_t>(trit(i) << i % 128 / 32 * 2);
  // Five trits, most significant first, as a fraction of 243, of 256 parts, rounded up.
  const auto pack = [&](size_t count, auto value) {
    unsigned number = 0;
    for (size_t n = 0; n < 5; ++n) number = number * 3 + (n < count ? trit(value(n)) : 0);
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  };
  for (size_t m = 0; m < 32; ++m) one.data()[m] = pack(5, [&](size_t n) { return n * 32 + m; });
  for (size_t m = 0; m < 16; ++m) one.data()[32 + m] = pack(5, [&](size_t n) { return 160 + n * 16 + m; });
  for (size_t m = 0; m < 4; ++m) one.data()[48 + m] = pack(4, [&](size_t n) { return 240 + n * 4 + m; });
  const std::vector<float> twos = values_of(GgmlType::tq2_0, two, 256);
  const std::vector<float> ones = values_of(GgmlType::tq1_0, one, 256);
  for (size_t i = 0; i < 256; ++i) {
    const float value = 1.5f * (static_cast<float>(trit(i)) - 1.0f);
    test.expect(twos[i] == value, "TQ2_0 value " + std::to_string(i));
    test.expect(ones[i] == value, "TQ1_0 value " + std::to_string(i));
  }
  two.data()[5] |= 0xc0;  // a code of 3
  std::vector<float> values(256);
  test.expect(!dequantize_rows(GgmlType::tq2_0, two.data(), 1, 256, values.data()).ok(), "a ternary code of 3");
}

void check_type_table(std::vector<std::string>& failures) {
  const Case test{failures, "types"};
  test.expect(layouts().size() == 32, "32 types");
  for (const uint32_t unknown : {4u, 5u, 9u, 15u, 16u, 29u, 31u, 33u, 36u, 39u, 20000u, 20007u, 0xffffffffu}) {
    test.expect(ggml_type_info(unknown) == nullptr, "type " + std::to_string(unknown) + " is known");
  }
  const GgmlTypeInfo& q6_k = *ggml_type_info(14);
  test.expect(ggml_bytes(q6_k, 3, 512) == 3 * 2 * 210, "bytes of Q6_K");
  test.expect(ggml_bytes(q6_k, 1, 255) == 0, "bytes of a partial block");
  test.expect(ggml_bytes(q6_k, SIZE_MAX / 2, 512) == 0, "overflow of rows");
  test.expect(ggml_bytes(*ggml_type_info(0), 2, SIZE_MAX / 2) == 0, "overflow of columns");
  std::vector<float> out(32);
  const Status status = dequantize_rows(static_cast<GgmlType>(9), nullptr, 1, 32, out.data());
  test.expect(status.code == ErrorCode::model_tensor_type_unsupported, "an unknown type was accepted");
}

}  // namespace

std::vector<std::string> check_formats(uint64_t seed) {
  std::vector<std::string> failures;
  Random random(seed);
  check_type_table(failures);
  check_layout(failures);
  check_own_types(failures);
  check_planes(failures);
  check_scaled_rows(failures, seed);
  for (const Layout& layout : layouts()) {
    const GgmlTypeInfo& type = *ggml_type_info(static_cast<uint32_t>(layout.type));
    const size_t unit = std::max<size_t>(type.block_values, 32);
    for (const size_t rows : {1, 15, 16, 17, 33}) {
      for (const size_t units : {1, 2, 3, 18}) {
        const Case test{failures,
                        std::string(type.name) + " " + std::to_string(rows) + "x" + std::to_string(units * unit)};
        check_values(test, layout, rows, units * unit, random);
      }
    }
    check_refusal({failures, type.name}, layout, random);
  }
  return failures;
}

}  // namespace nibble
