#pragma once
// XXH64 (Yann Collet, xxHash specification 0.1.1): a checksum at the speed of memory. It finds damage, not forgery.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nibble {

static_assert(std::endian::native == std::endian::little, "packed weights are stored as they lie in memory");

inline uint64_t xxh64(const uint8_t* data, size_t bytes, uint64_t seed = 0) noexcept {
  constexpr uint64_t p1 = 0x9E3779B185EBCA87u, p2 = 0xC2B2AE3D27D4EB4Fu, p3 = 0x165667B19E3779F9u,
                     p4 = 0x85EBCA77C2B2AE63u, p5 = 0x27D4EB2F165667C5u;
  const auto word = [](const uint8_t* at) {
    uint64_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  };
  const auto round = [](uint64_t lane, uint64_t input) { return std::rotl(lane + input * p2, 31) * p1; };
  const uint8_t* const end = data + bytes;
  uint64_t hash = seed + p5;
  if (bytes >= 32) {
    uint64_t lanes[4] = {seed + p1 + p2, seed + p2, seed, seed - p1};
    for (; end - data >= 32; data += 32) {
      for (size_t i = 0; i < 4; ++i) lanes[i] = round(lanes[i], word(data + 8 * i));
    }
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (const uint64_t lane : lanes) hash = (hash ^ round(0, lane)) * p1 + p4;
  }
  hash += bytes;
  for (; end - data >= 8; data += 8) hash = std::rotl(hash ^ round(0, word(data)), 27) * p1 + p4;
  if (end - data >= 4) {
    uint32_t value;
    std::memcpy(&value, data, sizeof value);
    hash = std::rotl(hash ^ value * p1, 23) * p2 + p3;
    data += 4;
  }
  for (; data < end; ++data) hash = std::rotl(hash ^ *data * p5, 11) * p1;
  hash = (hash ^ (hash >> 33)) * p2;
  hash = (hash ^ (hash >> 29)) * p3;
  return hash ^ (hash >> 32);
}

}  // namespace nibble
