#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// exp64, log64, sincos64 against libm in long double; RopeTable against mpmath's frequencies (rope_reference.h) and
/// long double cosines; refusal of bad settings. Returns what failed.
std::vector<std::string> check_rope(uint64_t seed);

}  // namespace nibble
