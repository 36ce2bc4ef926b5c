#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../kernels/isa.h"

namespace nibble {

struct CheckReport {
  size_t cases = 0;
  uint64_t calls = 0;  // of linear and attention kernels, counted by the level itself: which level really ran
  std::vector<std::string> failures;
};

/// Compares every kernel of a level with its scalar twin, bit for bit (any NaN equals any NaN), over random and edge
/// shapes and values made from `seed`; and exp with the mathematical function, within 2 ulp. The level must be
/// supported by this host. At most 50 failures are described.
CheckReport check_level(Isa isa, uint64_t seed);

}  // namespace nibble
