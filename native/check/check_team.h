#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// Stress of the thread team: sizes 1–8 (more than the CPUs of a small host), spinning and not, claims that must cover
/// every item once, plain data handed over barriers, sleeps between phases and runs. Returns failures as text. Built
/// with -fsanitize=thread it also proves that a barrier orders memory.
std::vector<std::string> check_team(uint64_t seed);

/// Topology from made-up /proc and /sys trees: quotas of nested cgroups (v1 and v2), affinity masks, SMT siblings.
std::vector<std::string> check_topology();

}  // namespace nibble
