#pragma once
// Lowers eᵀ·H·e of a row within one group, everything outside of it being fixed: codes one by one, then scale and
// minimum by least squares. Each change is exact for the quadratic, so the error never grows.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "code_format.h"
#include "curvature.h"

namespace nibble {

class GroupDescent {
 public:
  /// @param group inputs of a group, ≤ 128
  /// @param free_levels codebooks: levels move each for itself, else they stay
  GroupDescent(const CodeFormat& format, const Curvature& curvature, size_t group, bool free_levels);

  size_t group() const noexcept { return group_; }

  /// Loads the group's block of H. Then `run` may be called for any row.
  void select(size_t first_input) noexcept;

  /// @param gradient [group] (H·e)_group @param codes [group], changed @param scale changed
  /// @param change [group]: by how much the group's values have grown. Returns whether anything has changed.
  bool run(const float* gradient, int8_t* codes, GroupScale& scale, float* change) noexcept;

 private:
  bool move_codes(int8_t* codes, const GroupScale& scale) noexcept;
  bool move_levels(const int8_t* codes, GroupScale& scale) noexcept;
  bool accept(const int8_t* codes, const GroupScale& next, GroupScale& scale) noexcept;
  bool move_scale(const int8_t* codes, GroupScale& scale) noexcept;
  /// Solves for the change of d (and m) that the gradient asks for.
  GroupScale step_of(const int8_t* codes) const noexcept;

  const CodeFormat& format_;
  const Curvature& curvature_;
  size_t group_;
  bool free_levels_;
  std::vector<float> h_;         // [group][group]
  std::vector<float> gradient_;  // [group] of the values as they are now
  std::vector<float> delta_;     // [group] values' change of a new scale
  std::vector<float> product_;   // [group] H·delta
};

}  // namespace nibble
