#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// Sampling against a naive implementation in double with a full sort, on every level of this CPU; penalties; draws
/// against their distribution; Philox's published vectors. Returns what failed.
std::vector<std::string> check_sampler(uint64_t seed);

}  // namespace nibble
