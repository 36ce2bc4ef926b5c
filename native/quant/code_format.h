#pragma once
// Weight formats that a matrix can be quantized to, and the blocks that a GGUF file holds of them. A weight is d·q + m:
// codes q in [lowest, highest], one scale d per group of consecutive inputs, and one minimum m, if the format is
// affine; else m is 0, or half a step, so that codes mean ±½, ±1½ … steps. Of codebook formats a weight is d·level[q],
// with four ascending levels per group.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "../formats/weight_format.h"

namespace nibble {

struct CodeFormat {
  std::string_view name;
  size_t group;  // inputs that share a scale; 0: the whole row
  int lowest, highest;
  bool affine;          // the file stores minima
  size_t header_bytes;  // of a group's scale and minimum
  int bits;             // of a code in the file
  bool codebook = false;
  float shift = 0;      // where no minima are stored: m = shift · d
  bool planes = false;  // the file holds codes as bit planes

  /// Scales are f16, those of a whole row f32.
  bool scale_is_f32() const noexcept { return group == 0; }
  size_t group_inputs(size_t inputs) const noexcept { return group == 0 ? inputs : group; }
  size_t groups(size_t inputs) const noexcept { return inputs / group_inputs(inputs); }
  size_t row_bytes(size_t inputs) const noexcept {
    return groups(inputs) * header_bytes + inputs * static_cast<size_t>(bits) / 8;
  }
};

/// Null if there is none of this name.
const CodeFormat* find_code_format(std::string_view name) noexcept;

using Levels = std::array<float, kCodebookLevels>;

/// Scale and minimum of a group, as the file can hold them; of a codebook its values, which are d·level.
struct GroupScale {
  float d = 0;
  float m = 0;
  Levels values{};
  bool codebook = false;
  float value(int code) const noexcept {
    return codebook ? values[static_cast<size_t>(code)] : d * static_cast<float>(code) + m;
  }
};
/// The nearest scale or minimum that the file can hold (f16; f32 for a whole row).
float stored_scale(const CodeFormat& format, float value) noexcept;

/// The codebook of a group that is nearest to some ascending values: the scale lets the largest magnitude be a level.
GroupScale stored_levels(const Levels& values) noexcept;
/// Scale and minimum as the file can hold them; the latter follows from the scale where none are stored.
GroupScale stored_scale(const CodeFormat& format, GroupScale exact) noexcept;

/// Writes the file's blocks of one row. codes [inputs], scales [groups], out [row_bytes].
void encode_row(const CodeFormat& format, const int8_t* codes, const GroupScale* scales, size_t inputs,
                uint8_t* out) noexcept;

}  // namespace nibble
