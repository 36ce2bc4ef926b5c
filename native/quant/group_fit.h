#pragma once
// Scale and codes of one group of weights, each weight for itself: round to nearest, or the scale that loses least.
#include <cstddef>
#include <cstdint>

#include "code_format.h"

namespace nibble {

/// Round to nearest, as the formats are defined by the tools that made them common: a symmetric 4- or 5-bit scale is
/// that value of largest magnitude over −2^(bits−1), an 8-bit one or that of a row is the largest magnitude over the
/// largest code; an affine group spans from its smallest to its largest value. Codes are rounded by the scale before
/// the scale is rounded to what the file holds. codes [n].
GroupScale round_to_nearest(const CodeFormat& format, const float* w, size_t n, int8_t* codes) noexcept;

/// The scale (and minimum) that minimises Σ importance·(w − (d·q + m))², of those that a search by shrinking the range
/// and fitting d and m to the codes by least squares finds; never worse than round_to_nearest. importance [n] or null:
/// all 1. n ≤ 128 for formats of groups; any n for those of rows. codes [n], may be null.
GroupScale fit_least_squares(const CodeFormat& format, const float* w, const float* importance, size_t n,
                             int8_t* codes) noexcept;

/// The code nearest to w.
inline int nearest_code(const CodeFormat& format, GroupScale scale, float w) noexcept {
  if (scale.d == 0) return format.affine ? format.lowest : 0;
  const float code = (w - scale.m) / scale.d;
  if (!(code > static_cast<float>(format.lowest))) return format.lowest;
  if (code >= static_cast<float>(format.highest)) return format.highest;
  return static_cast<int>(__builtin_rintf(code));
}

}  // namespace nibble
