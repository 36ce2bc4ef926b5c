// Rows with one f32 scale: what they are worth by the text of formats/pack.h, read from the file and from packed tiles.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>

#include "../formats/pack.h"
#include "check_formats.h"

namespace nibble {
namespace {

struct Rows {
  std::vector<uint8_t> file;
  std::vector<float> values;
};

/// A row: f32 d, then int8; or for every 32 inputs 16 bytes, the low halves first, 8 standing for 0.
Rows random_rows(size_t bits, size_t rows, size_t cols, std::mt19937_64& random) {
  Rows made;
  for (size_t r = 0; r < rows; ++r) {
    const float d = std::ldexp(static_cast<float>(random() % 1000) - 500.0f, -12);
    const auto scale = std::bit_cast<std::array<uint8_t, 4>>(d);
    made.file.insert(made.file.end(), scale.begin(), scale.end());
    for (size_t k = 0; k < cols; k += 32) {
      int codes[32];
      for (int& code : codes) code = static_cast<int>(random() % (1u << bits)) - (1 << (bits - 1));
      for (size_t i = 0; i < 4 * bits; ++i) {
        const int byte = bits == 8 ? codes[i] : (codes[i] + 8) | (codes[i + 16] + 8) << 4;
        made.file.push_back(static_cast<uint8_t>(byte));
      }
      for (const int code : codes) made.values.push_back(static_cast<float>(code) * d);
    }
  }
  return made;
}

}  // namespace

void check_scaled_rows(std::vector<std::string>& failures, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (const auto& [type, home, bits] : {std::tuple{GgmlType::nb_w8row, WeightFormat::w8row, size_t{8}},
                                         std::tuple{GgmlType::nb_w4row, WeightFormat::w4row, size_t{4}}}) {
    for (const size_t rows : {1, 16, 33}) {
      for (const size_t cols : {32, 96}) {
        const auto expect = [&, bits = bits](bool ok, const char* what) {
          if (!ok) failures.push_back("rows of " + std::to_string(bits) + " bits: " + what);
        };
        Rows made = random_rows(bits, rows, cols, random);
        std::vector<float> values(rows * cols);
        expect(dequantize_rows(type, made.file.data(), rows, cols, values.data()).ok(), "refused");
        expect(values == made.values, "values of the file differ");

        PackedView view{nullptr, home, rows, cols};
        std::vector<uint8_t> packed(view.bytes());
        expect(pack_row_tiles(type, made.file.data(), rows, cols, 0, row_tiles(rows), packed.data()).ok(),
               "not packed");
        view.tiles = packed.data();
        for (size_t r = 0; r < rows; ++r) {
          unpack_row(view, r, values.data() + r * cols);
        }
        expect(values == made.values, "packed values differ");

        const auto nan = std::bit_cast<std::array<uint8_t, 4>>(std::numeric_limits<float>::quiet_NaN());
        std::copy(nan.begin(), nan.end(), made.file.end() - static_cast<std::ptrdiff_t>(made.file.size() / rows));
        expect(!dequantize_rows(type, made.file.data(), rows, cols, values.data()).ok(), "NaN accepted");
        expect(!pack_row_tiles(type, made.file.data(), rows, cols, 0, row_tiles(rows), packed.data()).ok(),
               "NaN packed");
      }
    }
  }
}

}  // namespace nibble
