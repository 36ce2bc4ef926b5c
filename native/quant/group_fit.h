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

/// The codebook (levels.cpp). Evenly spaced levels from the least to the largest weight; from where between them the
/// weighted error is least (`fits`); or levels that are fitted freely (`learns`), beginning with those.
GroupScale fit_levels(const float* w, const float* importance, size_t n, bool fits, bool learns) noexcept;

/// The code nearest to w.
inline int nearest_code(const CodeFormat& format, const GroupScale& scale, float w) noexcept {
  if (format.codebook) {
    const Levels& v = scale.values;
    return (2 * w > v[0] + v[1] ? 1 : 0) + (2 * w > v[1] + v[2] ? 1 : 0) + (2 * w > v[2] + v[3] ? 1 : 0);
  }
  if (scale.d == 0) return format.affine ? format.lowest : 0;
  const float code = (w - scale.m) / scale.d;
  if (!(code > static_cast<float>(format.lowest))) return format.lowest;
  if (code >= static_cast<float>(format.highest)) return format.highest;
  return static_cast<int>(__builtin_rintf(code));
}

}  // namespace nibble
