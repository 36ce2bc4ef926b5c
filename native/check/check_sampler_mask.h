#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// Sampling under a grammar's mask against sampling from a vocabulary that has only the allowed tokens, on every level
/// of this CPU: both must draw the same token from the same candidates. Returns what failed.
std::vector<std::string> check_sampler_mask(uint64_t seed);

}  // namespace nibble
