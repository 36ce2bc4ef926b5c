#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace nibble {

/// Philox4x32-10, a counter-based generator: the draw of a position needs no state and no order (Salmon et al.,
/// "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
constexpr std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) noexcept {
  for (size_t round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// 53 random bits for one generated position of one choice of a request.
constexpr uint64_t draw_bits(uint64_t seed, uint32_t choice, uint32_t position) noexcept {
  const std::array<uint32_t, 4> words =
      philox4x32_10({position, choice, 0, 0}, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (uint64_t{words[0]} << 32 | words[1]) >> 11;
}

}  // namespace nibble
