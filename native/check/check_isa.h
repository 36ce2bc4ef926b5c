#pragma once
#include <string>
#include <vector>

namespace nibble {

/// Which levels a CPU can run, from made-up registers and, on x86, against what the compiler's library says of this
/// one; names of levels, the cap NIBBLE_ISA, and that each level has the table of its name. Returns failures as text.
std::vector<std::string> check_isa();

}  // namespace nibble
