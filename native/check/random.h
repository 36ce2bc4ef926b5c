#pragma once
// Seeded values for the checks: the same on every machine.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../formats/f16.h"

namespace nibble::check {

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) noexcept : state_(seed) {}

  uint64_t bits() noexcept {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// In [low, high].
  size_t between(size_t low, size_t high) noexcept { return low + bits() % (high - low + 1); }
  bool chance(size_t one_in) noexcept { return bits() % one_in == 0; }
  /// In [-1, 1).
  float unit() noexcept { return static_cast<float>(static_cast<int64_t>(bits()) >> 40) * 0x1p-23f; }
  template <class T>
  T pick(std::span<const T> values) noexcept {
    return values[bits() % values.size()];
  }

 private:
  uint64_t state_;
};

/// What a row of floats is made of.
enum class Values : uint8_t {
  plain,       // [-4, 4)
  wide,        // exponents over most of the range, no overflow in squares
  tiny,        // subnormals and what is near them
  zeros,       // +0 and −0
  not_finite,  // plain, some elements NaN or ±infinity
  any_bits,    // any 32 bits
};
inline constexpr Values kValues[] = {Values::plain, Values::wide,       Values::tiny,
                                     Values::zeros, Values::not_finite, Values::any_bits};

inline float make_value(Random& random, Values kind) noexcept {
  const auto with_exponent = [&](size_t low, size_t high) {
    const uint32_t exponent = static_cast<uint32_t>(random.between(low, high));
    const uint32_t rest = static_cast<uint32_t>(random.bits()) & 0x807fffffu;
    return std::bit_cast<float>(rest | (exponent << 23));
  };
  switch (kind) {
    case Values::plain:
      return 4.0f * random.unit();
    case Values::wide:
      return with_exponent(70, 185);
    case Values::tiny:
      return with_exponent(0, 3);
    case Values::zeros:
      return random.chance(2) ? 0.0f : -0.0f;
    case Values::not_finite:
      if (random.chance(20)) return random.chance(2) ? __builtin_nanf("") : (random.chance(2) ? 1.0f : -1.0f) / 0.0f;
      return 4.0f * random.unit();
    case Values::any_bits:
      return std::bit_cast<float>(static_cast<uint32_t>(random.bits()));
  }
  return 0.0f;
}

inline void fill(Random& random, Values kind, std::span<float> out) noexcept {
  for (float& value : out) value = make_value(random, kind);
}

}  // namespace nibble::check
